#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

/// E M², M the largest of n absolute values of N(0, 1): ∫ 2m (1 - erf(m/√2)^n) dm.
inline double expected_square_of_largest(int n) {
  double sum = 0;
  for (double m = 0.0005; m < 12; m += 0.001) {
    sum += 0.001 * 2 * m * (1 - std::pow(std::erf(m / std::sqrt(2.0)), n));
  }
  return sum;
}

inline Table granularity() {
  Table t;
  // One scale 2/127: 0.635, -1.27, 0.953, -0.318; 95.25, -127, 50.8, -76.2. Row 0 by itself as in
  // lesson 07.
  t << each("tensor", {1, -1, 1, 0, 95, -127, 51, -76})
    << each("channel", {63, -127, 95, -32, 95, -127, 51, -76});
  // Row 0 in units of 0.005: w = 2, -4, 3, -1. One scale: a code is 400/127 of them, so the errors
  // are 2 - a, 4 - a, 3 - a, 1 with a = 3.1496. Own scale: a code is 4/127; 63.5, 127, 95.25, 31.75.
  const double a = 400.0 / 127;
  const double rough = (2 - a) * (2 - a) + (4 - a) * (4 - a) + (3 - a) * (3 - a) + 1;
  const double fine = (0.25 + 0.0625 + 0.0625) * (4.0 / 127) * (4.0 / 127);
  t << near("tensor.error", std::sqrt(rough / 30), 1e-5)
    << near("channel.error", std::sqrt(fine / 30), 1e-5);
  // One scale 0.3: 0.33, 0.67, 0.5 (in float 0.50000006: up), 0.4; 6.67, -6, 5, -7. Groups: 0.2/7:
  // 3.5 (to even: 4), 7, 5.25, 4.2. Errors by hand in units of 0.01: 10, 10, 15, 12; 10/7, 0, 5/7, 4/7.
  t << each("whole", {0, 1, 1, 0, 7, -6, 5, -7}) << each("halves", {4, 7, 5, 4, 7, -6, 5, -7});
  const double all = 100 + 400 + 225 + 144;
  t << near("whole.error", std::sqrt((100 + 100 + 225 + 144) / all), 1e-5)
    << near("halves.error", std::sqrt((100 + 25 + 16) / 49.0 / all), 1e-5);
  // Steps of 0.25 are over ten codes of 3/127 apart: 21. One code of 85/127 = 0.669 reaches from
  // -2/0.669 = -2.99 (to -3) to 3/0.669 = 4.48 (to 4): 8.
  t << exactly("without", 21) << exactly("with", 8);
  // The largest of 256 is between 2.35 and 3.9 deviations in 98 of 100 rows, so row 3 makes a code 1.85
  // to 3.07 deviations wide. 16000 weights reach to about 4: 3 or 5 codes. The error of such steps:
  const auto coarse = [](double s) {
    double sum = 0;
    for (double x = -6; x < 6; x += 0.001) {
      sum += 0.001 * std::pow(x - s * std::nearbyint(x / s), 2) * std::exp(-x * x / 2);
    }
    return std::sqrt(sum / std::sqrt(2 * std::acos(-1.0)));
  };
  t << between("used", 3, 5) << between("one.error", coarse(1.85), coarse(3.07));
  // A fine step s has error s/√12, here s = M/qmax: √(E M² / 12) / qmax. The coarser 4-bit grid and
  // 16384 samples agree within 3 %.
  t << near("each.error", std::sqrt(expected_square_of_largest(256) / 12) / 127, 2e-4);
  for (const int n : {256, 128, 64, 32, 16, 8}) {
    const double error = std::sqrt(expected_square_of_largest(n) / 12) / 7;
    // The largest weight of each group has no error: a share 1/n of the weights is exact.
    t << near("group" + std::to_string(n), error * std::sqrt(1 - 1.0 / n), 0.03 * error);
  }
  return t;
}

}  // namespace notch::test
