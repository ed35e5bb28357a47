#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table gradcheck() {
  Table t;
  // x = [1 2 3; 4 5 6], w = [1 0 -1; 2 1 0], by hand: y_ij = x_i · w_j, dx_i = Σ_j r_ij w_j,
  // dw_j = Σ_i r_ij x_i with r = [1 0; 0 2].
  t << each("y", {-2, 4, -2, 13}) << each("dx", {1, 0, -1, 4, 2, 0})
    << each("dw", {1, 2, 3, 8, 10, 12});
  // Σ softmax = 1: both sides are 0 whatever the rule. With a mixed r and true slope d, c times the
  // rule is off by |c - 1| |d|, over max(|d|, c |d|): 4/5 and 1.
  t << exactly("ones.right", 0) << exactly("ones.five", 0) << exactly("ones.none", 0)
    << near("mixed.five", 0.8, 1e-6) << near("mixed.none", 1, 1e-6) << exactly("mixed.right", 1);
  // The Jacobian of softmax is diag(p) - p pᵀ (its rows times r).
  const double e[] = {std::exp(1.0), std::exp(2.0), std::exp(3.0)}, r[] = {1, -2, 0.5};
  const double sum = e[0] + e[1] + e[2];
  for (int i = 0; i < 3; ++i) {
    double d = 0;
    for (int j = 0; j < 3; ++j) {
      d += r[j] * ((i == j ? e[i] / sum : 0) - e[i] / sum * e[j] / sum);
    }
    t << near("softmax." + std::to_string(i), d, 1e-7);
  }
  // The error is about h²/6 + ε/h, least where h³ = 3 ε: with ε = 2^-24 near 2e-5, with 2^-53 near
  // 4e-11. Single values of the rounding error may be luckier by far than its size.
  t << between("best.float", 1e-8, 1e-4) << between("best.double", 1e-14, 1e-9);
  return t;
}

}  // namespace notch::test
