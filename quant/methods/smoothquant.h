// SmoothQuant (Xiao et al. 2022, arXiv:2211.10438): part of what makes inputs hard to round moves
// into the weights.
//
// An input channel j is divided by s_j and its column of weights multiplied by it, as in AWQ, so that
// channels far larger than the rest do not take the whole range of a token:
//   s_j = max |x_j|^α / max |w_j|^(1-α)                                                     (eq. 4)
// with maxima over the calibration text and over the rows of all matrices that read the input. Then
// weights and inputs are rounded to nearest. α is the migration strength, 0.5 in the paper, 0.75 to 0.9
// for hard models; by default it is searched for every input.
//
// Deviations: (a) α = 0 moves nothing, s = 1, and is round-to-nearest; eq. 4 would even out the
// weights. (b) searched, α is the one of 0, 0.05 … 0.95 with the least Σ |x̂ ŵᵀ - x wᵀ|² over about
// kSampleRows tokens, inputs and weights rounded as they will be (a static range: that of these
// tokens). (c) every input that linears read is smoothed, also behind attention and GELU, where
// 1/s_j goes into the values' rows or a stored multiplier; the reference code has those behind norms.
#pragma once

#include <span>
#include <vector>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct SmoothQuantOptions {
  double alpha = -1;
  bool operator==(const SmoothQuantOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.alpha,
      {"alpha", "migration strength, 0 to 1; -1 = for every input the best of 20", between(-1, 1)});
  }
};

inline constexpr int kSmoothStrengths = 20;  ///< 0, 1/20 … 19/20

/// eq. 4; 1 for channels that calibration never saw or no weight reads, and all 1 for α = 0.
std::vector<real> smoothing(std::span<const Target* const> targets, std::span<const real> largest,
                            double alpha);

struct Smoothing {
  std::vector<real> s{};
  double alpha = 0;
  double error = 0;      ///< Σ |x̂ ŵᵀ - x wᵀ|² over the sample
  double rtn_error = 0;  ///< with α = 0
};

/// The smoothing of the input that `targets` read, of which H keeps magnitudes and a sample: of that α,
/// or searched where it is negative.
Smoothing smoothing_of(std::span<const Target* const> targets, const Hessian& H, double alpha);

extern const Method kSmoothQuant;

}  // namespace notch::quant
