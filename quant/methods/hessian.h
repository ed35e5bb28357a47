// The second moment of a layer's inputs: what GPTQ and everything built on it knows of the text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"

namespace notch::quant {

/// What a Hessian keeps of the inputs.
struct KeptInputs {
  bool moments = true;
  bool magnitudes = false;        ///< the mean and the maximum of |x_j|
  std::int64_t sample_every = 0;  ///< n: every n-th row; 0: none
};

/// The second moment of a layer's inputs, H = (1/n) Σ x xᵀ [K, K]: products of up to 1024 rows in
/// float (the bound is kernels::syrk's), summed in double.
class Hessian {
 public:
  explicit Hessian(std::int64_t in_features, const KeptInputs& kept = {});

  /// Adds rows x [n, K]. Parallel. How rows are divided among calls changes the rounding only.
  void accumulate(std::span<const real> x);

  /// The same, beside the inputs x̃ [n, K] that a reference model's layer gets from the same tokens.
  void accumulate(std::span<const real> x, std::span<const real> reference);

  /// H := H · factor.
  void scale(double factor);
  /// H := H + other, whatever number of rows either has seen.
  void add(const Hessian& other);

  std::int64_t in_features() const { return in_features_; }
  std::int64_t rows() const { return rows_; }  ///< n: tokens seen so far
  /// H [K, K], both triangles; all zero when nothing was accumulated. Usage error, here and where
  /// moments are added, if none are kept.
  std::vector<double> matrix() const;
  /// C = (1/n) Σ (x̃ - x)ᵀ x [K, K], not symmetric; empty unless a reference was given.
  std::vector<double> drift() const;
  /// (1/n) Σ |x_j| [K], empty unless magnitudes are kept; all zero when nothing was accumulated.
  std::vector<double> magnitudes() const;
  /// max |x_j| [K], where magnitudes are kept; else empty.
  std::span<const real> largest() const { return largest_; }
  /// The rows that were kept, [.., K]: rows 0, n, 2n … of all that were accumulated.
  std::span<const real> sample() const { return sample_; }

 private:
  void require_moments() const;

  std::int64_t in_features_ = 0;
  std::int64_t rows_ = 0;
  std::vector<double> sum_{};  ///< upper triangle
  std::vector<double> drift_{};
  std::vector<double> magnitudes_{};
  std::vector<real> largest_{}, sample_{};
  std::int64_t sample_every_ = 0;
  std::vector<real> workspace_{};
};

}  // namespace notch::quant
