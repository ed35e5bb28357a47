// What a cache of keys and values can be: checked before any kind of one takes memory.
#pragma once

#include "nn/kv_cache.h"

namespace notch::nn {

/// `shape` itself. Usage Error for sizes that are not positive, heads that do not divide channels or heads
/// of keys that do not divide heads, and for more than memory holds.
const KvShape& possible(const KvShape& shape);

}  // namespace notch::nn
