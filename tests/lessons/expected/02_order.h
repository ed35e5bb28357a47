#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table order() {
  Table t;
  // By hand, c hands 1 to b, b (now 1) hands 1 and 1 to a; c hands its second 1 to b, b (now 2)
  // hands 2 and 2 to a: 6. The derivative of 4a is 4; of 100001 x it is 100001 (exact in float).
  t << exactly("wrong", 6) << exactly("right", 4) << exactly("chain", 100001);
  // d(w w)/dw = 2w = 6 at 3; the sum of two; one; the mean of two equal ones.
  t << exactly("first", 6) << exactly("second", 12) << exactly("zeroed", 6) << exactly("halves", 6);
  // e = w - 1 begins at 2. With zeroing e becomes 0.8 e: 2 · 0.8^99 = 5e-10, below float's step
  // at 1. Without, e[n+1] - e[n] = e[n] - e[n-1] - 0.2 e[n] and e[1] = 1.6, which is a cosine:
  // e[n] = A cos((n + 1/2) θ), cos θ = 0.9, A = 2 / cos(θ/2). Float drifts over 100 steps by 1e-4
  // at most.
  const double theta = std::acos(0.9);
  t << near("with", 1, 1e-6)
    << near("without", 1 + 2 / std::cos(theta / 2) * std::cos(99.5 * theta), 1e-4);
  return t;
}

}  // namespace notch::test
