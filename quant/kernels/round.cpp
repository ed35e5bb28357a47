#include "quant/kernels/round.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <type_traits>

#include "autograd/base/simd.h"
#include "quant/kernels/units.h"

static_assert(FLT_EVAL_METHOD == 0, "excess precision would change which code a weight gets");

namespace notch::quant {
namespace {

/// Reductions keep this many interleaved partial results, whatever the width of the vectors.
constexpr std::int64_t kLanes = 16;

double add_lanes(const double (&lanes)[kLanes]) {
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

NOTCH_CLONES void round_codes(std::span<std::int8_t> codes, std::span<const real> w,
                              const Units& units, const Grid& grid) {
  require_units("round", units, codes, w);
  const std::int64_t unit = units.size;  // read here: a store of codes could be to `units`
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::size_t u = 0; u < units.scales.size(); ++u) {
      const real scale = units.scales[u];
      const int z = units.zero(u);
      const real lo = grid.lowest(z), hi = grid.highest(z);
      const real* in = w.data() + static_cast<std::int64_t>(u) * unit;
      std::int8_t* out = codes.data() + static_cast<std::int64_t>(u) * unit;
      for (std::int64_t i = 0; i < unit; ++i) {
        const real v = in[i] / scale;
        out[i] = static_cast<std::int8_t>(round.code(v, round(v, lo, hi)) + z);
      }
    }
  });
}

NOTCH_CLONES void fake_quant(std::span<real> out, std::span<const real> w, const Units& units,
                             const Grid& grid) {
  require_units("fake_quant", units, out, w);
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::size_t u = 0; u < units.scales.size(); ++u) {
      const real scale = units.scales[u];
      const int z = units.zero(u);
      const real lo = grid.lowest(z), hi = grid.highest(z);
      const real* in = w.data() + static_cast<std::int64_t>(u) * units.size;
      real* o = out.data() + static_cast<std::int64_t>(u) * units.size;
      for (std::int64_t i = 0; i < units.size; ++i) o[i] = round(in[i] / scale, lo, hi) * scale;
    }
  });
}

NOTCH_CLONES void dequantize_codes(std::span<real> out, std::span<const std::int8_t> codes,
                                   const Units& units, const Grid& grid) {
  require_units("dequantize", units, out, codes);
  const real* const levels = grid.levels.data();
  for (std::size_t u = 0; u < units.scales.size(); ++u) {
    const real scale = units.scales[u];
    const int z = units.zero(u);
    const std::int8_t* in = codes.data() + static_cast<std::int64_t>(u) * units.size;
    real* o = out.data() + static_cast<std::int64_t>(u) * units.size;
    if (grid.levels.empty()) {
      for (std::int64_t i = 0; i < units.size; ++i) o[i] = static_cast<real>(in[i] - z) * scale;
    } else {
      for (std::int64_t i = 0; i < units.size; ++i) o[i] = levels[in[i] - grid.qmin] * scale;
    }
  }
}

NOTCH_CLONES double squared_error(std::span<const real> w, real scale, int zero_point,
                                  const Grid& grid) {
  const real lo = grid.lowest(zero_point), hi = grid.highest(zero_point);
  double lanes[kLanes] = {};
  const std::int64_t n = std::ssize(w), whole = n - n % kLanes;
  const real* in = w.data();
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    const auto square = [&](real v) NOTCH_GRID_INLINE {
      const double e =
          static_cast<double>(v) - static_cast<double>(round(v / scale, lo, hi) * scale);
      return e * e;
    };
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += square(in[i + l]);
    }
    for (std::int64_t i = whole; i < n; ++i) lanes[i - whole] += square(in[i]);
  });
  return add_lanes(lanes);
}

NOTCH_CLONES double rough_squared_error(std::span<const real> w, real scale, int zero_point,
                                        const Grid& grid) {
  // v is off by three roundings, |v| · 3 · 2^-24: up to twice the largest code that is δ <= 2^-14,
  // beyond it 2^-21 of the difference. (d + δ)² is within d² (1 ± 2^-10) ± (1 + 2^10) δ².
  constexpr std::int64_t kPiece = 512;  // summed in `real`
  const real lo = grid.lowest(zero_point), hi = grid.highest(zero_point);
  const real reciprocal = 1 / scale;
  const std::int64_t n = std::ssize(w);
  double sum = 0;
  for (std::int64_t begin = 0; begin < n; begin += kPiece) {
    const real* in = w.data() + begin;
    const std::int64_t size = std::min(kPiece, n - begin), whole = size - size % kLanes;
    real lanes[kLanes] = {};
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      for (std::int64_t l = 0; l < kLanes; ++l) {
        const real v = in[i + l] * reciprocal, d = v - round_clamped(v, lo, hi);
        lanes[l] += d * d;
      }
    }
    for (std::int64_t i = whole; i < size; ++i) {
      const real v = in[i] * reciprocal, d = v - round_clamped(v, lo, hi);
      lanes[i - whole] += d * d;
    }
    for (const real lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

NOTCH_CLONES MinMax min_max(std::span<const real> w) {
  // On the bits, because compilers make vectors of a minimum of integers only: flipping all but the
  // sign of negative numbers gives integers in the order of the numbers, with 0 for 0.
  using Bits = std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t>;
  constexpr Bits kMagnitude = std::numeric_limits<Bits>::max();
  const Bits infinity = std::bit_cast<Bits>(std::numeric_limits<real>::infinity());
  const auto flipped = [](Bits b) { return b ^ ((b >> (8 * sizeof(Bits) - 1)) & kMagnitude); };
  Bits lo = 0, hi = 0;
  for (const real v : w) {
    const Bits bits = std::bit_cast<Bits>(v);
    const Bits value = (bits & kMagnitude) > infinity ? 0 : flipped(bits);
    lo = value < lo ? value : lo;
    hi = value > hi ? value : hi;
  }
  return {.lo = std::bit_cast<real>(flipped(lo)), .hi = std::bit_cast<real>(hi)};
}

NOTCH_CLONES bool all_finite(std::span<const real> w) {
  int bad = 0;
  for (const real v : w) bad |= !(std::fabs(v) <= std::numeric_limits<real>::max());
  return bad == 0;
}

NOTCH_CLONES double sum_of_magnitudes(std::span<const real> w) {
  double lanes[kLanes] = {};
  const std::int64_t n = std::ssize(w), whole = n - n % kLanes;
  const real* in = w.data();
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(std::fabs(in[i + l]));
  }
  for (std::int64_t i = whole; i < n; ++i)
    lanes[i - whole] += static_cast<double>(std::fabs(in[i]));
  return add_lanes(lanes);
}

}  // namespace notch::quant
