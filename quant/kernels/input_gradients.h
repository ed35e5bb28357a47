// What training needs of quantized activations after the forward: their values again, and the
// gradient of the rounding.
//
// Separate from quantize_rows.h because inference never comes here. Scale and zero point are those
// of a static range, one for the whole tensor; v = x/s + z. The gradient multiplies by 1/s instead
// of dividing: it decides no code.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"
#include "quant/kernels/integer_linear.h"

namespace notch::quant {

/// values [M, K] = (q - z) · scale of the rows that quantize_rows wrote, bit for bit its
/// `dequantized`. Parallel, vectorised.
void dequantize_rows(std::span<float> values, const ActivationCodes& codes, std::int64_t M,
                     const IntegerShape& shape);

/// A static range with the gradient it has.
struct InputRange {
  real scale = 1;
  int zero_point = 0, qmin = -127, qmax = 127;
  /// offset/s where the offset is learned (LSQ+) and decides the zero point; 0 otherwise.
  real offset_steps = 0;
  /// PACT: only values outside move the range.
  bool clipping_only = false;
  bool low_end_held = false;  ///< PACT: where the range begins does not depend on its scale
};

/// Sums over all elements, in double: Σ dx · ∂x̂/∂s and Σ dx · ∂x̂/∂offset.
struct RangeSums {
  double scale = 0;
  double offset = 0;
};

/// Straight-through gradient of x̂ = (clamp(rint(x/s) + z, qmin, qmax) - z) s, in place and in one
/// pass: dx holds ∂L/∂x̂ on entry and ∂L/∂x on exit.
///   ∂x̂/∂x       1 inside [qmin, qmax], ends included, else 0 (where `mask` is off: 1 everywhere)
///   ∂x̂/∂s       rint(v) - v inside; outside q - z - offset/s for q the end that was passed
///   ∂x̂/∂offset  0 inside, 1 outside
/// Esser et al. 2020 (arXiv:1902.08153), eq. 3 and 5; Bhalgat et al. 2020 (LSQ+, arXiv:2004.09576),
/// eq. 6 and 7, with the zero point rounded to a code and that rounding counted as the identity.
/// With clipping_only (Choi et al. 2018, PACT, arXiv:1805.06085, section 3: dy/dα is 1 where α
/// clips and 0 elsewhere) the rounding noise is taken as a constant, so that
///   ∂x̂/∂s       0 inside, qmax - z above, qmin - z below; with low_end_held, where the scale moves
///               the upper end alone, qmax - qmin above and 0 below
/// Parallel; partial sums are added in the order of fixed chunks.
RangeSums input_backward(std::span<real> dx, std::span<const real> x, const InputRange& range,
                         bool mask);

/// The mask alone.
void mask_input_gradient(std::span<real> dx, std::span<const real> x, const InputRange& range);

}  // namespace notch::quant
