// SignRound, the method of AutoRound: offsets and ranges by the sign of their gradients (Cheng et al.
// 2023, arXiv:2309.05516).
//
//   w̃ = s · clamp(round(w/s + V), qmin - z, qmax - z),  V in [-1/2, 1/2],  s = a s₀        (eq. 3)
// Straight-through gradients of a block's error move V and a by signed steps, V -= lr sign(∂L/∂V), of a
// rate that falls linearly from 1/steps to 0, and the offsets with the least loss are kept.
// Deviations: (a) s₀ is least squares', where the source begins at the extremes and has a factor for
// each end of the range in [0, 1]: here one factor in [1/2, 3/2] moves both, and the zero point stays;
// (b) grids of every integer only.
#pragma once

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct SignRoundOptions {
  int steps = 200;
  int windows = 8;
  bool ranges = true;
  bool operator==(const SignRoundOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps, {"steps", "updates of every block; the rate begins at 1/steps",
                   between(1, 1'000'000)});
    v(self.windows, {"windows", "contexts of calibration text per update", between(1, 65536)});
    v(self.ranges, {"ranges", "learn the ranges too"});
  }
};

extern const Method kSignRound;

}  // namespace notch::quant
