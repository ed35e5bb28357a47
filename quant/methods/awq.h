// AWQ: activation-aware weight quantization (Lin et al. 2023, arXiv:2306.00978).
//
// The weights that meet large inputs should round finely. An input channel j is divided by s_j and
// its column of weights multiplied by it: the product is the same, but relative to the range of its
// unit a column with s_j > 1 has a finer grid. Then, unit by unit, the range is clipped where that
// lowers the error of the output.
//
//   s_j = m_j^a / √(max m^a · min m^a),  m_j = mean |x_j| (eq. 5),  a the exponent of 0, 0.05 … 0.95
//   that makes Σ tr(dW H dWᵀ) least (eq. 4), dW = Q(W diag s) diag(1/s) - W, over the matrices that
//   read the input. a = 0 is round-to-nearest, and a candidate: the search never makes it worse.
//
// Deviations from the reference code (mit-han-lab/llm-awq): (a) the error is that of the products
// themselves, exact over all calibration text by its second moments H, not of the attention or MLP
// around them on 512 tokens; (b) ranges are clipped for queries and keys as well, which stand in one
// matrix with the values here; (c) a channel that calibration never saw (m_j = 0) keeps s_j = 1;
// (d) where nothing before the product can absorb 1/s_j (behind a GELU), it is a multiplier of the
// input that the artefact stores, as llm-awq's ScaledActivation.
#pragma once

#include <span>
#include <vector>

#include "quant/methods/gptq.h"
#include "quant/methods/method.h"

namespace notch::quant {

inline constexpr int kAwqExponents = 20;  ///< 0, 1/20 … 19/20
inline constexpr int kAwqClips = 10;      ///< ranges of 1, 0.95 … 0.55 of the extremes

struct AwqScales {
  std::vector<real> s{};  ///< [K]; all 1 where no exponent is better than 0
  double exponent = 0;
  double error = 0;      ///< Σ tr(dW H dWᵀ) with s, before clipping
  double rtn_error = 0;  ///< with s = 1
};

/// The scales of the input that `targets` (matrices of the same K columns) read, of which H keeps moments
/// and magnitudes. Numeric error for moments or weights that are not finite.
AwqScales awq_scales(std::span<const Target* const> targets, const Hessian& H);

/// Round to nearest with each unit's range the multiple of its extremes that makes
/// Σ (w - ŵ) H_uu (w - ŵ)ᵀ least, H_uu the unit's own block of H; ties go to the wider range.
QTensor round_clipped(const Target& target, const Hessian& H);

extern const Method kAwq;

}  // namespace notch::quant
