#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "tests/lessons/expected.h"

namespace notch::test {

inline std::array<double, 3> softmax_of(std::array<double, 3> z, double tau) {
  double sum = 0;
  for (double& v : z) sum += v = std::exp(v / tau);
  for (double& v : z) v /= sum;
  return z;
}

// The golden values of T = 3, α = 0.7 were computed with Python's math module:
//   p = softmax(z_t/3), q = softmax(z_s/3): Σ p log(p/q) = 0.04490778272, CE = -log softmax(z_s)[0]
//   dL/dz = α T (q - p) + (1 - α) (softmax(z_s) - onehot)
inline Table distillation() {
  Table t;
  t << near("ce", 1.464368784107945, 1e-6) << near("kl", 0.04490778272338378, 1e-7)
    << near("t2kl", 0.404170044510454, 1e-6) << near("loss", 0.7222296663897012, 1e-6)
    << near("gradient.0", -0.524629152, 1e-6) << near("gradient.1", 0.417762813, 1e-6)
    << near("gradient.2", 0.106866339, 1e-6) << near("same", 0, 1e-6);
  // d(T² KL)/dz = T (q - p), here in double. (2, 1, 0) without its mean is (1, 0, -1), (1, 2, 0.5)
  // without its mean 7/6 is (-1, 5, -4)/6; a third of the difference is (-7, 5, 2)/18.
  int i = 0;
  for (const double tau : {1., 4., 16., 100.}) {
    const auto p = softmax_of({2, 1, 0}, tau), q = softmax_of({1, 2, 0.5}, tau);
    double squares = 0;
    for (std::size_t c = 0; c < 3; ++c) squares += (q[c] - p[c]) * (q[c] - p[c]);
    const double size = tau * std::sqrt(squares);
    if (tau == 100) {
      t << near("at_100", size, 1e-4);
      break;
    }
    t << near("with." + std::to_string(i), size, 1e-4)
      << near("without." + std::to_string(i), size / (tau * tau), 1e-4 / (tau * tau));
    ++i;
  }
  t << near("limit", std::sqrt(49 + 25 + 4) / 18, 1e-12) << near("eight", 0.7222296663897012, 1e-6)
    << near("batchmean", 4 * 0.404170044510454, 1e-5);
  return t;
}

}  // namespace notch::test
