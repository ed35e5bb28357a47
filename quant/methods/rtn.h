// Round to nearest: every weight by itself, on scales that a rule chooses from the weights alone.
#pragma once

#include "quant/methods/method.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {

/// The nearest codes, with scales chosen by `rule`.
QTensor round_nearest(const Target& target, RangeRule rule, double percentile = kWeightPercentile);

extern const Method kRtn, kRtnMse, kRtnPercentile, kRtnEntropy;

}  // namespace notch::quant
