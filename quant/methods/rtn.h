// Round to nearest: every weight by itself, on scales that a rule chooses from the weights alone.
#pragma once

#include "autograd/base/field.h"
#include "quant/methods/method.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {

struct RtnOptions {
  double percentile = kWeightPercentile;
  bool operator==(const RtnOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.percentile, {"percentile",
                        "rtn-percentile: share of the weights inside a range",
                        {.low = 50, .high = 100, .low_open = true}});
  }
};

/// The nearest codes, with scales chosen by `rule`.
QTensor round_nearest(const Target& target, RangeRule rule, double percentile = kWeightPercentile);

extern const Method kRtn, kRtnMse, kRtnPercentile, kRtnEntropy;

}  // namespace notch::quant
