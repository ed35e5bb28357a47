#pragma once

#include <array>

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table adamw() {
  Table t;
  // Loshchilov and Hutter 2019, algorithm 2, in Python's decimal arithmetic with 40 digits.
  const double m[] = {0.05, 0.025, 0.0325}, v[] = {0.00025, 0.00028975, 0.00029946025};
  const double w[] = {0.89000000199999996, 0.84653941809651059, 0.80013484663473303};
  for (int i = 0; i < 3; ++i) {
    const std::string step = std::to_string(i + 1);
    t << near("m" + step, m[i], 1e-12) << near("v" + step, v[i], 1e-12)
      << near("w" + step, w[i], 1e-12) << single("engine." + std::to_string(i), w[i]);
  }
  t << near("uncorrected", std::sqrt(10.0), 1e-12);  // 0.1 / √0.001
  // The first step is lr g / (|g| + 1e-8): off by 1e-4 of itself at 0.0001.
  t << near("tiny", 1 - 0.1 * 0.0001 / (0.0001 + 1e-8), 1e-6) << near("huge", 0.9, 1e-6);
  // lr · decay · w = 0.01 beside a step of 0; in the gradient 0.1 it makes a whole step of lr.
  t << near("decoupled", 0.99, 1e-6) << near("coupled", 0.9, 1e-6);
  // Descent multiplies x by 0.982 and y by -0.8 in every step.
  t << near("descent", (std::pow(0.982, 200) + 100 * std::pow(0.8, 200)) / 2, 1e-6);
  // AdamW: the recursion of lr_t = lr √(1 - β2^t) / (1 - β1^t), Kingma and Ba 2015, section 2.
  std::array<double, 2> at{1, 1}, mean{}, square{};
  for (int step = 1; step <= 100; ++step) {
    const double root = std::sqrt(1 - std::pow(0.999, step));
    for (std::size_t i = 0; i < 2; ++i) {
      const double g = i == 0 ? at[i] : 100 * at[i];
      mean[i] += 0.1 * (g - mean[i]);
      square[i] += 0.001 * (g * g - square[i]);
      at[i] -=
          0.05 * root / (1 - std::pow(0.9, step)) * mean[i] / (std::sqrt(square[i]) + 1e-8 * root);
    }
  }
  const double f = (at[0] * at[0] + 100 * at[1] * at[1]) / 2;
  t << near("adam", f, 1e-3 * f);
  return t;
}

}  // namespace notch::test
