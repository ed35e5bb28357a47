// A random linear layer with related inputs, on which lessons measure what a method of rounding does.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "autograd/base/rng.h"

namespace notch::lessons {

using Matrix = std::vector<double>;  // row-major

/// y = W x with W normal. The 32 inputs have 16 parts m in common, x = 0.15 z + 0.5 B m with z, m and
/// B normal: whoever changes one weight can make up for it with others. A step per row, largest / 7.
struct RandomLayer {
  static constexpr std::size_t K = 32, kRows = 16, kShared = 16;
  Matrix W = Matrix(kRows * K), steps{}, B = Matrix(K * kShared);

  explicit RandomLayer(Rng& rng) {
    for (double& v : W) v = rng.normal();
    for (double& v : B) v = rng.normal();
    for (std::size_t row = 0; row < W.size(); row += K) {
      double largest = 0;
      for (std::size_t i = row; i < row + K; ++i) largest = std::fmax(largest, std::fabs(W[i]));
      steps.push_back(largest / 7);
    }
  }

  /// The mean of x xᵀ over `count` new inputs.
  Matrix moment(Rng& rng, std::size_t count) const {
    Matrix m(kShared), x(K), H(K * K);
    for (std::size_t n = 0; n < count; ++n) {
      for (double& v : m) v = rng.normal();
      for (std::size_t i = 0; i < K; ++i) {
        x[i] = 0.15 * rng.normal();
        for (std::size_t k = 0; k < kShared; ++k) x[i] += 0.5 * B[i * kShared + k] * m[k];
      }
      for (std::size_t i = 0; i < K * K; ++i)
        H[i] += x[i / K] * x[i % K] / static_cast<double>(count);
    }
    return H;
  }
};

/// Σ over rows of e H eᵀ with e = w - q: the mean square of the change of the layer's output.
inline double output_error(const Matrix& W, const Matrix& Q, const Matrix& H, std::size_t K) {
  double sum = 0;
  for (std::size_t row = 0; row < W.size(); row += K) {
    for (std::size_t n = 0; n < K * K; ++n) {
      const std::size_t i = row + n / K, j = row + n % K;
      sum += (W[i] - Q[i]) * H[n] * (W[j] - Q[j]);
    }
  }
  return sum;
}

/// step · code, the nearest of the codes -7 … 7.
inline double nearest(double w, double step) {
  return step * std::nearbyint(std::fmin(7, std::fmax(-7, w / step)));
}
inline Matrix nearest(Matrix W, std::size_t K, const Matrix& steps) {
  for (std::size_t i = 0; i < W.size(); ++i) W[i] = nearest(W[i], steps[i / K]);
  return W;
}

}  // namespace notch::lessons
