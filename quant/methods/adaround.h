// AdaRound: up or down (Nagel et al. 2020, arXiv:2004.10568).
//
//   w̃ = s (l₋ + h(V) (l₊ - l₋)),   h(V) = clamp(1.2 σ(V) - 0.1, 0, 1)                 (eqs. 22, 23)
// with l₋ and l₊ the levels below and above w/s, and V learned by Adam from the place of w between
// them. The loss is L + λ mean(1 - |2h - 1|^β) (eq. 24): the second term drives every h to 0 or 1, with β
// falling from 20 to 2 after a warm start without it. Then h >= 1/2 goes up. Ranges are
// round-to-nearest's with least squares.
// Deviations: (a) L is a block's, not a layer's, relative to the error of round-to-nearest, and the
// penalty a mean over a matrix: their ratio does not depend on the size of either; (b) hundreds of updates, not
// ten thousand, at a higher rate.
#pragma once

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct AdaRoundOptions {
  int steps = 300;
  int windows = 8;
  double lr = 0.02;
  double lambda = 1;
  bool operator==(const AdaRoundOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps, {"steps", "updates of every block", between(1, 1'000'000)});
    v(self.windows, {"windows", "contexts of calibration text per update", between(1, 65536)});
    v(self.lr, {"lr", "learning rate of what decides up or down, by Adam", above(0)});
    v(self.lambda, {"lambda", "weight of the penalty for being neither up nor down", at_least(0)});
  }
};

inline constexpr double kAdaRoundWarmStart = 0.2;  ///< share of the steps without the penalty
inline constexpr double kAdaRoundFirstBeta = 20, kAdaRoundLastBeta = 2;

extern const Method kAdaRound;

}  // namespace notch::quant
