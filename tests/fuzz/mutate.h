// A mutator that knows what it changes: JSON stays JSON, a safetensors header keeps its length, a
// length field becomes another length, and a manifest is made right again, so that what lies behind
// the first check is reached. A function of its arguments: the same numbers, the same inputs.
#pragma once

#include <string>
#include <string_view>

#include "autograd/base/rng.h"

namespace notch::test::fuzz {

/// `input` with a change or a few, some of them pieces of `other`; at most `max_bytes`.
std::string mutate(std::string_view input, std::string_view other, Rng& rng, std::size_t max_bytes);

}  // namespace notch::test::fuzz
