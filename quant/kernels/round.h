// Rounding to a grid: the arithmetic that every quantizer in the repository shares.
//
// One inline function decides what an integer is, and the loops below, GPTQ and the fake-quant ops
// call it. So fake-quant weights equal dequantized codes bit for bit, and GPTQ without correlations
// equals round-to-nearest, by construction.
//   r = rint(clamp(w / scale, qmin - z, qmax - z))      q = r + z      ŵ = r · scale
// The division is a division (multiplying by 1/scale differs in about 0.1 % of the weights), ties
// go to even, nothing is contracted. Clamping first is equal to clamping last, as the bounds are
// integers. All functions are serial, vectorised, and give the same bits for every instruction set.
//
// With step = 2 the codes are the odd numbers (Grid::step): q = 2 floor(v/2) + 1, clamped. A weight
// between two codes on an even number goes up; 0 counts as positive.
//
// `scales` holds one scale per unit of `unit` consecutive weights, `zero_points` one each or
// nothing for all zero; unit u covers w[u·unit, (u+1)·unit), and sizes match: w.size() =
// scales.size()·unit. Scales are finite and not 0.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "autograd/base/real.h"

namespace notch::quant {

/// Factor of the limits beyond which a value counts as clipped. The value whose size a scale was
/// made of is inside: absmax divided by fl(absmax / qmax), or multiplied by the inverse of that, can
/// land above qmax by less than 2 ε of it.
inline constexpr real kInside = 1 + 2 * std::numeric_limits<real>::epsilon();

/// clamp(v, lo, hi) rounded half to even, for integers lo <= hi of magnitude up to 2^21. Adding
/// 1.5·2^23 (2^52 in double) leaves no fraction bits, so the addition rounds: the same as rint, but
/// it vectorises on every target. Never gives -0. NaN stays NaN.
inline real round_clamped(real v, real lo, real hi) {
  constexpr real kNoFraction = sizeof(real) == 4 ? real(0x1.8p23) : real(0x1.8p52);
  v = v < lo ? lo : v;
  v = v > hi ? hi : v;
  return (v + kNoFraction) - kNoFraction;
}

/// The same for the odd numbers between lo and hi, which are odd: 2 floor(v/2) + 1. The floor is a
/// rounding that is taken back where it went up.
inline real round_odd(real v, real lo, real hi) {
  const real first = (lo - 1) / 2, last = (hi - 1) / 2;
  real half = v / 2;
  half = half < first ? first : half;
  half = half > last ? last : half;
  const real near = round_clamped(half, first, last);
  const real below = near > half ? near - 1 : near;
  return 2 * below + 1;
}

/// round_clamped or, with step 2, round_odd.
inline real round_to_code(real v, real lo, real hi, int step) {
  return step == 1 ? round_clamped(v, lo, hi) : round_odd(v, lo, hi);
}

/// codes[i] = q(w[i]). w is finite.
void round_codes(std::span<std::int8_t> codes, std::span<const real> w,
                 std::span<const real> scales, std::span<const std::int8_t> zero_points,
                 std::int64_t unit, int qmin, int qmax, int step = 1);

/// out[i] = ŵ(w[i]): bit for bit dequantize_codes(round_codes(w)), without the codes. `out` may be
/// `w`. NaN stays NaN.
void fake_quant(std::span<real> out, std::span<const real> w, std::span<const real> scales,
                std::span<const std::int8_t> zero_points, std::int64_t unit, int qmin, int qmax,
                int step = 1);

/// out[i] = (codes[i] - z) · scale.
void dequantize_codes(std::span<real> out, std::span<const std::int8_t> codes,
                      std::span<const real> scales, std::span<const std::int8_t> zero_points,
                      std::int64_t unit);

/// Σ (w[i] - ŵ(w[i]))² for one unit: differences and sum in double, sixteen interleaved partial
/// sums.
double squared_error(std::span<const real> w, real scale, int zero_point, int qmin, int qmax,
                     int step = 1);

/// The same sum over scale², roughly and in a sixth of the time, for step 1 and codes of magnitude
/// up to 128: v = w · fl(1 / scale) takes the place of a division, and differences are floats. With
/// S the exact value, the result lies in S (1 ± 2^-10) ± n · 2^-18. Overflows and NaN stay visible.
double rough_squared_error(std::span<const real> w, real scale, int zero_point, int qmin, int qmax);

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
