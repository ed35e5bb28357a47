// Grid: which numbers the codes of weights stand for, and which code is nearest to a number.
//
// A weight is level(q - z) · scale, with the scale and the zero point z of its unit.
//   integers   level(q) = q for q = qmin, qmin + step, …, qmax; with a step of 2, the odd numbers
//   codebook   level(q) = levels[q - qmin], any ascending numbers; z = 0. Those of a small float type
//              are rounded to by its arithmetic
// One inline function per kind decides which code is nearest; the loops of round.h, fake_quant.h,
// oscillation.h and of GPTQ call it through with_rounding. So fake-quant weights equal dequantized
// codes bit for bit, and GPTQ without correlations equals round-to-nearest, by construction.
//
// quant/kernels/ rounds and multiplies on spans: grids, panels, one file per instruction set.
// May include: autograd/base.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "autograd/base/real.h"

namespace notch::quant {

/// Levels that a codebook of other numbers than a float type's has at most: as many as a vector
/// register has lanes.
inline constexpr int kMostLevels = 16;

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

/// Codes q lie in [qmin, qmax]. (LSQ's letters: Q_N = -qmin, Q_P = qmax.)
struct Grid {
  int qmin = 0;
  int qmax = 0;
  int step = 1;    ///< distance of neighbouring codes; 2: the odd numbers
  real reach = 0;  ///< the range is [lowest - reach, highest + reach]: what counts as not clipped
  std::span<const real> levels{};  ///< of qmin, qmin + 1, …, qmax; empty: a code is its own level
  /// The float type whose numbers the levels are: bits behind the point, and the exponent below
  /// which numbers are subnormal. 0 bits: there is none.
  int mantissa = 0, lowest_exponent = 0;

  /// Whether the codes are all integers from qmin to qmax, each its own level.
  constexpr bool is_every_integer() const { return step == 1 && levels.empty(); }
  /// Number of codes.
  constexpr int size() const { return (qmax - qmin) / step + 1; }
  constexpr bool has(int q) const { return q >= qmin && q <= qmax && (q - qmin) % step == 0; }

  /// What code q stands for, as a multiple of the scale.
  constexpr real level(int q, int z = 0) const {
    return levels.empty() ? static_cast<real>(q - z) : levels[static_cast<std::size_t>(q - qmin)];
  }
  /// The first and the last level of a unit with that zero point.
  constexpr real lowest(int z = 0) const {
    return levels.empty() ? static_cast<real>(qmin - z) : levels.front();
  }
  constexpr real highest(int z = 0) const {
    return levels.empty() ? static_cast<real>(qmax - z) : levels.back();
  }
  /// The distance of neighbouring levels, of a codebook the mean one between 0 and the last.
  double spacing() const {
    return levels.empty() ? static_cast<double>(step) : static_cast<double>(levels.back()) / qmax;
  }
  /// The code whose level is nearest to v, as round_codes finds it; v + z among the integers.
  int nearest(real v, int z = 0) const;

  constexpr bool operator==(const Grid& o) const {
    return qmin == o.qmin && qmax == o.qmax && step == o.step && reach == o.reach &&
           mantissa == o.mantissa && lowest_exponent == o.lowest_exponent &&
           std::ranges::equal(levels, o.levels);
  }
};

/// Units of `size` consecutive weights: unit u covers w[u·size, (u+1)·size), and there are as many
/// weights as units have. Scales are finite and not 0.
struct Units {
  std::span<const real> scales{};
  std::span<const std::int8_t> zeros{};  ///< zero points, one per unit; or nothing for all zero
  std::int64_t size = 0;

  int zero(std::size_t u) const { return zeros.empty() ? 0 : zeros[u]; }
};

#define NOTCH_GRID_INLINE __attribute__((always_inline))

/// Roundings: the level nearest to v of those between lo and hi, which are lowest(z) and
/// highest(z), and the code of a level, less the zero point.

/// Rounds to integers, half to even.
struct ToInteger {
  NOTCH_GRID_INLINE real operator()(real v, real lo, real hi) const {
    return round_clamped(v, lo, hi);
  }
  NOTCH_GRID_INLINE int code(real, real level) const { return static_cast<int>(level); }
};

/// Rounds to odd numbers: a number between two codes on an even number goes up; 0 counts as
/// positive.
struct ToOdd {
  NOTCH_GRID_INLINE real operator()(real v, real lo, real hi) const { return round_odd(v, lo, hi); }
  NOTCH_GRID_INLINE int code(real, real level) const { return static_cast<int>(level); }
};

/// Rounds to the levels of a codebook, by comparison with the midpoints between them, which are
/// rounded to `real`: v goes up where it is greater, so a tie goes to the lower level (as in
/// bitsandbytes). Beyond the ends, and at ±infinity, it is the first or the last level. NaN stays
/// NaN.
struct ToLevel {
  explicit ToLevel(const Grid& g) : qmin(g.qmin) {
    levels.fill(g.highest());
    midpoints.fill(std::numeric_limits<real>::infinity());
    for (std::size_t i = 0; i < g.levels.size(); ++i) {
      levels[i] = g.levels[i];
      if (i > 0) midpoints[i] = (g.levels[i - 1] + g.levels[i]) / 2;
    }
  }
  NOTCH_GRID_INLINE real operator()(real v, real, real) const {
    real level = levels[0];
    for (std::size_t i = 1; i < kMostLevels; ++i) level = v > midpoints[i] ? levels[i] : level;
    return v == v ? level : v;
  }
  NOTCH_GRID_INLINE int code(real v, real) const {
    int q = qmin;
    for (std::size_t i = 1; i < kMostLevels; ++i) q += v > midpoints[i] ? 1 : 0;
    return q;
  }

  int qmin;
  std::array<real, kMostLevels> levels, midpoints;  // midpoints[i]: below it, level i - 1 is nearer
};

/// Rounds to the numbers of a float type, as floats are rounded: half to even, subnormal below the
/// lowest exponent, beyond the last one to the last. The code is the magnitude's bits with the
/// sign. Never gives -0. NaN stays NaN.
struct ToFloat {
  using Bits = std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t>;
  static constexpr int kFraction = sizeof(real) == 4 ? 23 : 52;
  static constexpr Bits kBias = sizeof(real) == 4 ? 127 : 1023;
  static constexpr Bits kExponent = ((kBias << 1) + 1) << kFraction;

  explicit ToFloat(const Grid& g)
      : shift(kFraction - g.mantissa),
        first(std::bit_cast<Bits>(power(g.lowest_exponent))),
        before((kBias + g.lowest_exponent - 1) << g.mantissa),
        normal(power(g.lowest_exponent)),
        quanta(power(g.mantissa - g.lowest_exponent)),
        factor(real(1.5) * power(kFraction - g.mantissa)) {}

  NOTCH_GRID_INLINE real operator()(real v, real lo, real hi) const {
    v = v < lo ? lo : v;
    v = v > hi ? hi : v;
    const Bits exponent = std::bit_cast<Bits>(v) & kExponent;
    // Adding so large a number leaves the bits of the type, so the addition rounds.
    const real large = std::bit_cast<real>(exponent < first ? first : exponent) * factor;
    return (v + large) - large;
  }
  NOTCH_GRID_INLINE int code(real, real level) const {
    const real size = level < 0 ? -level : level;
    const int bits = static_cast<int>((std::bit_cast<Bits>(size) >> shift) - before);
    const int magnitude = size < normal ? static_cast<int>(size * quanta) : bits;
    return level < 0 ? -magnitude : magnitude;
  }

  static real power(int exponent) {
    return std::bit_cast<real>((kBias + exponent) << kFraction);
  }

  int shift;
  Bits first, before;
  real normal, quanta, factor;
};

/// body(rounding) with the grid's: a test inside of a loop would keep it from being vectorised. For
/// use in a function with NOTCH_CLONES, with a body that is NOTCH_GRID_INLINE.
template <class Body>
NOTCH_GRID_INLINE inline void with_rounding(const Grid& grid, const Body& body) {
  if (grid.mantissa > 0) return body(ToFloat(grid));
  if (!grid.levels.empty()) return body(ToLevel(grid));
  if (grid.step == 1) return body(ToInteger{});
  body(ToOdd{});
}

inline int Grid::nearest(real v, int z) const {
  int q = 0;
  with_rounding(*this,
                [&](const auto& round) { q = round.code(v, round(v, lowest(z), highest(z))) + z; });
  return q;
}

}  // namespace notch::quant
