// Zeros: what is zero stays zero. For a model that was pruned elsewhere or before.
#pragma once

#include "quant/methods/prune.h"

namespace notch::quant {

extern const Pruner kZeros;

}  // namespace notch::quant
