// Fake quantization: a weight as it will be after rounding, with a gradient that passes through.
//
// Three ops on the tape, added without touching autograd/. Forward is the arithmetic of
// quant/kernels/round.h, the same that packs the weights later: what training sees and what is
// shipped are equal bit for bit.
//
// quant/ops/ is the ops that quantization puts on the tape, each with its gradient.
// May include: quant/numbers, quant/kernels, autograd.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "autograd/graph.h"
#include "quant/kernels/integer_linear.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/ranges.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// How gradients treat weights outside the range.
enum class Ste : std::uint8_t {
  clipped,  ///< no gradient outside: a clipped weight is not pushed further out
  plain,    ///< the identity everywhere
};
constexpr auto names(Ste) { return std::array<std::string_view, 2>{"clipped", "plain"}; }

/// ŵ = (clamp(rint(w/s) + z, qmin, qmax) - z) s, or the nearest level of another grid, with s and z
/// of each unit by follow_range from its extremes, taken anew in every step and treated as constants by the gradient.
///   w [rows, cols], anchors [units] -> [rows, cols].  dL/dw = dL/dŵ, masked when `ste` is clipped.
/// Straight-through estimator: Bengio, Léonard and Courville 2013 (arXiv:1308.3432). `anchors` must
/// outlive the step; `packed`, unless null, is filled with this step's integers in the same pass.
Var fake_quant_ste(Var w, const Spec& spec, std::span<const RangeAnchor> anchors, Ste ste,
                   const PackedWeights* packed = nullptr);

/// ŵ = (clamp(rint(w/s) + z, qmin, qmax) - z) s with s = lsq_step(start, log_scale): one learned step
/// per unit.  w [rows, cols], log_scale [units], start [units], zero_points [units] or none ->
/// [rows, cols]. `start` and `zero_points` must outlive the step; `packed` as above.
/// Esser et al. 2020 (arXiv:1902.08153), eq. 1-3 and 5, for the grids of all integers, and ParetoQ
/// (arXiv:2502.02631) for ternary and seq, with the clip at the edge of the outer cells (ParetoQ:
/// at 0.99 of it) and one rule for all widths, the sign of 1 bit included; a codebook's levels
/// spread with the step as integers do. Deviations: a) the
/// parameter is l = log(s/start), so the step keeps the sign it starts with (signed_max starts with
/// either), one learning rate suits all layers, and l = 0 is the start to the bit: dL/dl = s dL/ds; b) the gradient scale 1/√(N qmax) takes N = the weights that share the step. With
/// Ste::plain the weight gradient is not masked; c) a zero point stays what it is (LSQ+, Bhalgat et al.
/// 2020, arXiv:2004.09576, learns an offset).
Var fake_quant_lsq(Var w, Var log_scale, std::span<const real> start, const Spec& spec, Ste ste,
                   const PackedWeights* packed = nullptr, std::span<const real> zero_points = {});

/// ŵ on scales s = fitted_scale(unit, spec, of_normal) (quant/numbers/gaussian_fit.h), taken anew in every
/// step and treated as constants by the gradient:  w [rows, cols] -> [rows, cols].
///   dL/dw = dL/dŵ where |ŵ - w| <= T, T = s · trusted_error, 0 elsewhere
/// Trust estimator of QuEST, Panferov et al. 2025 (arXiv:2502.05003), section 3.2. Grids without zero points;
/// `packed` as above.
Var fake_quant_gaussian(Var w, const Spec& spec, double of_normal,
                        const PackedWeights* packed = nullptr);

/// s = round_scale(start · exp(l)): what forward uses and export stores.
real lsq_step(real start, real log_scale, ScaleType type);

}  // namespace notch::quant
