// Rounding to a grid: the arithmetic that every quantizer in the repository shares.
//
//   r = level nearest to w / scale of those between lowest(z) and highest(z)      ŵ = r · scale
//   integers:  r = rint(clamp(w / scale, qmin - z, qmax - z))                     q = r + z
// The division is a division (multiplying by 1/scale differs in about 0.1 % of the weights), ties
// go to even (quant/kernels/grid.h says where they go on other grids), nothing is contracted.
// Clamping first is equal to clamping last, as the bounds are integers. All functions are serial,
// vectorised, and give the same bits for every instruction set.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "autograd/base/real.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

/// Factor of the limits beyond which a value counts as clipped. The value whose size a scale was
/// made of is inside: absmax divided by fl(absmax / qmax), or multiplied by the inverse of that, can
/// land above qmax by less than 2 ε of it.
inline constexpr real kInside = 1 + 2 * std::numeric_limits<real>::epsilon();

/// codes[i] = q(w[i]). w is finite.
void round_codes(std::span<std::int8_t> codes, std::span<const real> w, const Units& units,
                 const Grid& grid);

/// out[i] = ŵ(w[i]): bit for bit dequantize_codes(round_codes(w)), without the codes. `out` may be
/// `w`. NaN stays NaN.
void fake_quant(std::span<real> out, std::span<const real> w, const Units& units, const Grid& grid);

/// out[i] = level(codes[i] - z) · scale.
void dequantize_codes(std::span<real> out, std::span<const std::int8_t> codes, const Units& units,
                      const Grid& grid);

/// Σ (w[i] - ŵ(w[i]))² for one unit: differences and sum in double, sixteen interleaved partial
/// sums.
double squared_error(std::span<const real> w, real scale, int zero_point, const Grid& grid);

/// The same sum over scale², roughly and in a sixth of the time, for grids of every integer and
/// codes of magnitude up to 128: v = w · fl(1 / scale) takes the place of a division, and
/// differences are floats. With S the exact value, the result lies in S (1 ± 2^-10) ± n · 2^-18.
/// Overflows and NaN stay visible.
double rough_squared_error(std::span<const real> w, real scale, int zero_point, const Grid& grid);

/// Smallest and largest element, 0 included (so lo <= 0 <= hi). NaN is ignored: see all_finite.
struct MinMax {
  real lo = 0;
  real hi = 0;
};
MinMax min_max(std::span<const real> w);

/// Whether no element is infinite or NaN.
bool all_finite(std::span<const real> w);

/// Σ |w[i]| in double, sixteen interleaved partial sums.
double sum_of_magnitudes(std::span<const real> w);

}  // namespace notch::quant
