// GPTAQ: GPTQ of weights that make up for what rounding has done to a layer's inputs.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gptq_factor.h"

namespace notch::quant {

/// What the codes should come close to when the quantized layers before this one have changed its
/// inputs from x̃ to x: minimising the mean of ‖w x̃ - q x‖² over real-valued q, with λ‖q - w‖²,
///   q = w + w C (H + λI)⁻¹;   returned is w + asymmetric · w C (H + λI)⁻¹  [rows, cols]
/// The objective is GPTAQ's (Li et al. 2025, arXiv:2504.02692): `gptq` of this target minimises it.
/// Deviation: the paper moves column after column, each by what its predecessors leave over; here
/// every column takes part. `factor` is that of H + λI, in whatever order; `drift` is C [cols, cols].
/// Usage errors name `where`. Parallel.
std::vector<real> asymmetric_target(std::span<const real> w, std::int64_t rows,
                                    const DampedCholesky& factor, std::span<const double> drift,
                                    double asymmetric, std::string_view where);

/// GPTQ of asymmetric targets; where no drift is known, as of a tied table, GPTQ.
extern const Method kGptaq;

}  // namespace notch::quant
