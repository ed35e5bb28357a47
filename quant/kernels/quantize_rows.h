// Activations on integers: one pass from float rows to the codes that integer_linear multiplies.
//
// Rounding as for weights (round.h): division, half to even, clamp. Signed codes q in [qmin, qmax]
// with a signed zero point z, x ~ (q - z) · scale, both stored with IntegerShape::code_offset()
// added. Rows are padded to the layout of the weights they meet.
//
// Codes of float types are not multiplied: round_rows_to_floats gives what they stand for at once.
//
// A row with a NaN or an infinity gets scale NaN and codes equal to its zero point: every output of
// that token is NaN, and the check that guards losses and gradients sees it.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"
#include "quant/kernels/grid.h"
#include "quant/kernels/integer_linear.h"

namespace notch::quant {

/// How a token's scale is found: from its own values (dynamic), or given (static).
struct RowGrid {
  int qmin = -127;
  int qmax = 127;
  bool asymmetric = false;  ///< dynamic: scale and zero point from min(x, 0) and max(x, 0)
  float static_scale = 0;   ///< 0 for dynamic
  int static_zero_point = 0;
};

/// The bits of the largest |x|; magnitudes order like them, infinity and NaN come after every number.
std::int32_t largest_magnitude(const float* x, std::int64_t n);

/// Fills codes, scales and zero points (and sums, where shape asks for them) of out for x [M, K], K
/// = shape.K:
///   q = clamp(rint(x / scale) + z, qmin, qmax)
///   symmetric    scale = max|x| / qmax, z = 0
///   asymmetric   scale = (hi - lo) / (qmax - qmin), z = rint(clamp(qmin - lo/scale, qmin, qmax))
/// A row of zeros gets scale 1 and z = 0. A scale that would round to zero becomes the smallest
/// subnormal, one that would overflow the largest finite number. `dequantized` [M, K], unless
/// empty, gets (q - z) · scale. Parallel, vectorised, same bits for every instruction set.
void quantize_rows(const ActivationCodes& out, std::span<float> dequantized,
                   std::span<const float> x, std::int64_t M, const IntegerShape& shape,
                   const RowGrid& grid);

/// x̂ [M, K] of x on the levels of a float type (Grid::mantissa above 0):
///   x̂ = level nearest to x / scale, times scale = max|x| / highest, row by row
/// A row of zeros has scale 1, one with a NaN or an infinity becomes NaN. `out` may be `x`. Parallel.
void round_rows_to_floats(std::span<real> out, std::span<const real> x, std::int64_t M,
                          std::int64_t K, const Grid& grid);

}  // namespace notch::quant
