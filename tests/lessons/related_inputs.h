// The random layers of lessons 12 and 19, and GPTQ on them in the papers' triangular forms: no inverse
// that is brought up to date, no second moment in the errors.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/rng.h"

namespace notch::test {

/// 16 rows of 32 weights, and inputs x = 0.15 z + 0.5 B m with z, m, B and the weights normal.
struct RelatedInputs {
  static constexpr std::size_t K = 32, kRows = 16, kShared = 16;
  using Rows = std::vector<std::vector<double>>;
  Rows W{}, B{};

  explicit RelatedInputs(Rng& rng) : W(normal(rng, kRows, K)), B(normal(rng, K, kShared)) {}
  static Rows normal(Rng& rng, std::size_t rows, std::size_t cols) {
    Rows all(rows, std::vector<double>(cols));
    for (auto& row : all) {
      for (double& v : row) v = rng.normal();
    }
    return all;
  }
  Rows inputs(Rng& rng, std::size_t count) const {
    Rows X;
    for (std::size_t n = 0; n < count; ++n) {
      const std::vector<double> m = normal(rng, 1, kShared)[0];
      std::vector<double>& x = X.emplace_back();
      for (const auto& row : B) {
        x.push_back(0.15 * rng.normal());
        for (std::size_t k = 0; k < kShared; ++k) x.back() += 0.5 * row[k] * m[k];
      }
    }
    return X;
  }
  /// The step of row r: its largest weight gets code 7.
  double step(std::size_t r) const {
    double largest = 0;
    for (const double w : W[r]) largest = std::max(largest, std::fabs(w));
    return largest / 7;
  }
};

/// Mean over X of ((w - q) x)².
inline double change(const std::vector<double>& w, const std::vector<double>& q,
                     const RelatedInputs::Rows& X) {
  double sum = 0;
  for (const auto& x : X) {
    double difference = 0;
    for (std::size_t i = 0; i < x.size(); ++i) difference += (w[i] - q[i]) * x[i];
    sum += difference * difference / static_cast<double>(X.size());
  }
  return sum;
}

/// H = mean x xᵀ = R Rᵀ with R upper; U = R⁻¹, so that H⁻¹ = Uᵀ U.
///   'n'       the nearest codes
///   'r'       w_j + Σ_{i<j} (w_i - q_i) R_ij / R_jj, w as it was (Chen et al. 2025, arXiv:2507.18553)
///   'A'-'D'   Frantar et al. 2022, algorithm 1: Err = (w - q) / U_cc, w_j -= Err U_cj, with the line
///             that lesson 12 says is wrong in each
class TriangularGptq {
 public:
  explicit TriangularGptq(const RelatedInputs::Rows& X)
      : K_(X[0].size()), R_(K_ * K_), U_(K_ * K_) {
    for (std::size_t j = K_; j-- > 0;) {  // columns of R from the last, rows upwards
      for (std::size_t i = j + 1; i-- > 0;) {
        double rest = 0;
        for (const auto& x : X) rest += x[i] * x[j] / static_cast<double>(X.size());
        for (std::size_t k = j + 1; k < K_; ++k) rest -= R_[i * K_ + k] * R_[j * K_ + k];
        R_[i * K_ + j] = i == j ? std::sqrt(rest) : rest / R_[j * K_ + j];
      }
    }
    for (std::size_t j = 0; j < K_; ++j) {  // R U = 1, back substitution
      for (std::size_t i = j + 1; i-- > 0;) {
        double rest = i == j ? 1 : 0;
        for (std::size_t k = i + 1; k <= j; ++k) rest -= R_[i * K_ + k] * U_[k * K_ + j];
        U_[i * K_ + j] = rest / R_[i * K_ + i];
      }
    }
  }

  std::vector<double> round(const std::vector<double>& was, double step, char version) const {
    std::vector<double> w = was, q(K_);
    for (std::size_t c = 0; c < K_; ++c) {
      for (std::size_t i = 0; version == 'r' && i < c; ++i) {
        w[c] += (was[i] - q[i]) * R_[i * K_ + c] / R_[c * K_ + c];
      }
      q[c] = step * std::nearbyint(std::clamp(w[c] / step, -7.0, 7.0));
      const double u = U_[c * K_ + c], err = (w[c] - q[c]) / u;
      for (std::size_t j = c + 1; j < K_; ++j) {
        const double uj = U_[c * K_ + j];
        if (version == 'A') w[j] += err * uj;
        if (version == 'B') w[j] -= (w[c] - q[c]) * inverse(c, j) / inverse(c, c);
        if (version == 'C') w[j] -= (w[c] - q[c]) * u * uj;
        if (version == 'D') w[j] -= (was[c] - q[c]) / u * uj;
      }
    }
    return q;
  }

 private:
  double inverse(std::size_t i, std::size_t j) const {
    double sum = 0;
    for (std::size_t k = 0; k < K_; ++k) sum += U_[k * K_ + i] * U_[k * K_ + j];
    return sum;
  }
  std::size_t K_;
  std::vector<double> R_, U_;
};

/// Error on X of a layer rounded by `method`, divided by that of the nearest codes.
inline double gptq_share(const RelatedInputs& layer, const TriangularGptq& method, char version,
                         const RelatedInputs::Rows& X) {
  double error = 0, nearest = 0;
  for (std::size_t r = 0; r < RelatedInputs::kRows; ++r) {
    const std::vector<double>& w = layer.W[r];
    error += change(w, method.round(w, layer.step(r), version), X);
    nearest += change(w, method.round(w, layer.step(r), 'n'), X);
  }
  return error / nearest;
}

}  // namespace notch::test
