#include "quant/kernels/fake_quant.h"

#include <cmath>

#include "autograd/base/simd.h"
#include "quant/kernels/round.h"
#include "quant/kernels/units.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kLanes = 16;  // as round.cpp: partial sums whatever the vector width

}  // namespace

NOTCH_CLONES void clipped_ste_backward(std::span<real> dw, std::span<const real> dout,
                                       std::span<const real> w, const Units& units,
                                       const Grid& grid) {
  if (dw.empty()) return;
  require_units("ste backward", units, dw, dout, w);
  for (std::size_t u = 0; u < units.scales.size(); ++u) {
    const real scale = units.scales[u];
    const int z = units.zero(u);
    const real lo = kInside * (grid.lowest(z) - grid.reach);
    const real hi = kInside * (grid.highest(z) + grid.reach);
    const std::int64_t at = static_cast<std::int64_t>(u) * units.size;
    const real* in = w.data() + at;
    const real* d = dout.data() + at;
    real* out = dw.data() + at;
    for (std::int64_t i = 0; i < units.size; ++i) {
      const real v = in[i] / scale;
      out[i] += ((v >= lo) & (v <= hi)) ? d[i] : real{0};
    }
  }
}

NOTCH_CLONES void lsq_backward(std::span<real> dw, std::span<real> dlog, std::span<const real> dout,
                               std::span<const real> w, const Units& units, const Grid& grid,
                               double factor) {
  require_units("lsq backward", units, dout, w);
  require_extent("lsq backward", dw.empty() ? 0 : std::ssize(units.scales) * units.size, dw);
  require_extent("lsq backward", dlog.empty() ? 0 : std::ssize(units.scales), dlog);
  const std::int64_t unit = units.size, whole = unit - unit % kLanes;
  for (std::size_t u = 0; u < units.scales.size(); ++u) {
    const real scale = units.scales[u];
    const int z = units.zero(u);
    const real first = grid.lowest(z), last = grid.highest(z);
    const real lo = first - grid.reach, hi = last + grid.reach;
    const real lowest = kInside * lo, highest = kInside * hi;
    const std::int64_t at = static_cast<std::int64_t>(u) * unit;
    const real* in = w.data() + at;
    const real* d = dout.data() + at;
    if (!dw.empty()) {
      real* out = dw.data() + at;
      for (std::int64_t i = 0; i < unit; ++i) {
        const real v = in[i] / scale;
        out[i] += ((v >= lowest) & (v <= highest)) ? d[i] : real{0};
      }
    }
    if (dlog.empty()) continue;
    double lanes[kLanes] = {};
    with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
      // ŵ/s - (v inside, 0 outside): level(v) - v inside, the clipped level outside. At equality
      // both branches of eq. 3 hold for the level and the paper takes the end; so does this.
      const auto term = [&](std::int64_t i) NOTCH_GRID_INLINE {
        const real v = in[i] / scale;
        const real inside = ((v > lo) & (v < hi)) ? v : real{0};
        return static_cast<double>(d[i]) * static_cast<double>(round(v, first, last) - inside);
      };
      for (std::int64_t i = 0; i < whole; i += kLanes) {
        for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
      }
      for (std::int64_t i = whole; i < unit; ++i) lanes[i - whole] += term(i);
    });
    double sum = 0;
    for (const double lane : lanes) sum += lane;
    dlog[u] += static_cast<real>(factor * static_cast<double>(scale) * sum);
  }
}

NOTCH_CLONES std::int64_t count_moved(std::span<const real> before, std::span<const real> after) {
  constexpr real kSame = 4 * std::numeric_limits<real>::epsilon();
  std::int64_t moved = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    moved += !(std::fabs(before[i] - after[i]) <= kSame * std::fabs(before[i]));
  }
  return moved;
}

}  // namespace notch::quant
