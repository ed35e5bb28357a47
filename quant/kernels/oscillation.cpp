#include "quant/kernels/oscillation.h"

#include "autograd/base/simd.h"
#include "quant/kernels/round.h"
#include "quant/kernels/units.h"

namespace notch::quant {
namespace {

/// Numbers of one unit, or nothing of an empty span.
real* of_unit(std::span<real> all, std::size_t u, std::int64_t unit) {
  return all.empty() ? nullptr : all.data() + static_cast<std::int64_t>(u) * unit;
}

}  // namespace

NOTCH_CLONES void observe_oscillation(const OscillationState& state, std::span<real> w,
                                      const Units& units, const Grid& grid, double momentum,
                                      double threshold) {
  require_units("oscillation", units, w, state.code, state.direction, state.frequency);
  if (!state.frozen.empty()) require_units("oscillation", units, state.mean, state.frozen);
  const real m = static_cast<real>(momentum), most = static_cast<real>(threshold);
  const std::int64_t unit = units.size;
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::size_t u = 0; u < units.scales.size(); ++u) {
      const real scale = units.scales[u];
      const int z = units.zero(u);
      const real lo = grid.lowest(z), hi = grid.highest(z);
      real* in = of_unit(w, u, unit);
      real *code = of_unit(state.code, u, unit), *direction = of_unit(state.direction, u, unit);
      real* frequency = of_unit(state.frequency, u, unit);
      for (std::int64_t i = 0; i < unit; ++i) {
        const real q = round(in[i] / scale, lo, hi);
        const real moved = q - code[i];
        const real now = moved > 0 ? real{1} : moved < 0 ? real{-1} : real{0};
        const real back = now * direction[i] < 0 ? real{1} : real{0};
        frequency[i] += m * (back - frequency[i]);
        direction[i] = moved == 0 ? direction[i] : now;
        code[i] = q;
      }
      if (state.frozen.empty()) continue;
      real *mean = of_unit(state.mean, u, unit), *frozen = of_unit(state.frozen, u, unit);
      for (std::int64_t i = 0; i < unit; ++i) {
        mean[i] += m * (code[i] - mean[i]);
        const real settled = round(mean[i], lo, hi);
        const bool now = (frequency[i] > most) & (frozen[i] == kNotFrozen);
        frozen[i] = now ? settled : frozen[i];
        const real held = frozen[i] * scale;
        in[i] = frozen[i] == kNotFrozen ? in[i] : held;
      }
    }
  });
}

NOTCH_CLONES void dampen_backward(std::span<real> dw, std::span<const real> w, const Units& units,
                                  const Grid& grid, double factor) {
  require_units("dampen backward", units, dw, w);
  const real twice = static_cast<real>(2 * factor);
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::size_t u = 0; u < units.scales.size(); ++u) {
      const real scale = units.scales[u];
      const int z = units.zero(u);
      const real first = grid.lowest(z), last = grid.highest(z);
      const real lo = kInside * (first - grid.reach), hi = kInside * (last + grid.reach);
      const real* in = w.data() + static_cast<std::int64_t>(u) * units.size;
      real* out = of_unit(dw, u, units.size);
      for (std::int64_t i = 0; i < units.size; ++i) {
        const real v = in[i] / scale;
        const real gap = in[i] - round(v, first, last) * scale;
        out[i] += ((v >= lo) & (v <= hi)) ? twice * gap : real{0};
      }
    }
  });
}

NOTCH_CLONES void draw_to_levels(std::span<real> w, const Units& units, const Grid& grid,
                                 double share) {
  require_units("draw to levels", units, w);
  const real part = static_cast<real>(share);
  with_rounding(grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::size_t u = 0; u < units.scales.size(); ++u) {
      const real scale = units.scales[u];
      const int z = units.zero(u);
      const real first = grid.lowest(z), last = grid.highest(z);
      real* in = of_unit(w, u, units.size);
      for (std::int64_t i = 0; i < units.size; ++i) {
        const real gap = in[i] - round(in[i] / scale, first, last) * scale;
        in[i] -= part * gap;
      }
    }
  });
}

}  // namespace notch::quant
