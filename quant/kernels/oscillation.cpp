#include "quant/kernels/oscillation.h"

#include "autograd/base/simd.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

/// Numbers of one unit, or nothing of an empty span.
real* of_unit(std::span<real> all, std::size_t u, std::int64_t unit) {
  return all.empty() ? nullptr : all.data() + static_cast<std::int64_t>(u) * unit;
}

}  // namespace

NOTCH_CLONES void observe_oscillation(const OscillationState& state, std::span<real> w,
                                      std::span<const real> scales,
                                      std::span<const std::int8_t> zero_points, std::int64_t unit,
                                      int qmin, int qmax, int step, double momentum,
                                      double threshold) {
  const real m = static_cast<real>(momentum), most = static_cast<real>(threshold);
  for (std::size_t u = 0; u < scales.size(); ++u) {
    const real scale = scales[u];
    const int z = zero_points.empty() ? 0 : zero_points[u];
    const real lo = static_cast<real>(qmin - z), hi = static_cast<real>(qmax - z);
    real* in = of_unit(w, u, unit);
    real *code = of_unit(state.code, u, unit), *direction = of_unit(state.direction, u, unit);
    real* frequency = of_unit(state.frequency, u, unit);
    const auto observe = [&](auto round) {
      for (std::int64_t i = 0; i < unit; ++i) {
        const real q = round(in[i] / scale, lo, hi);
        const real moved = q - code[i];
        const real now = moved > 0 ? real{1} : moved < 0 ? real{-1} : real{0};
        const real back = now * direction[i] < 0 ? real{1} : real{0};
        frequency[i] += m * (back - frequency[i]);
        direction[i] = moved == 0 ? direction[i] : now;
        code[i] = q;
      }
    };
    if (step == 1) {
      observe([](real v, real l, real h) { return round_clamped(v, l, h); });
    } else {
      observe([](real v, real l, real h) { return round_odd(v, l, h); });
    }
    if (state.frozen.empty()) continue;
    real *mean = of_unit(state.mean, u, unit), *frozen = of_unit(state.frozen, u, unit);
    const auto freeze = [&](auto round) {
      for (std::int64_t i = 0; i < unit; ++i) {
        mean[i] += m * (code[i] - mean[i]);
        const real settled = round(mean[i], lo, hi);
        const bool now = (frequency[i] > most) & (frozen[i] == kNotFrozen);
        frozen[i] = now ? settled : frozen[i];
        const real held = frozen[i] * scale;
        in[i] = frozen[i] == kNotFrozen ? in[i] : held;
      }
    };
    if (step == 1) {
      freeze([](real v, real l, real h) { return round_clamped(v, l, h); });
    } else {
      freeze([](real v, real l, real h) { return round_odd(v, l, h); });
    }
  }
}

NOTCH_CLONES void dampen_backward(std::span<real> dw, std::span<const real> w,
                                  std::span<const real> scales,
                                  std::span<const std::int8_t> zero_points, std::int64_t unit,
                                  int qmin, int qmax, int step, real reach, double factor) {
  const real twice = static_cast<real>(2 * factor);
  for (std::size_t u = 0; u < scales.size(); ++u) {
    const real scale = scales[u];
    const int z = zero_points.empty() ? 0 : zero_points[u];
    const real first = static_cast<real>(qmin - z), last = static_cast<real>(qmax - z);
    const real lo = kInside * (first - reach), hi = kInside * (last + reach);
    const real* in = w.data() + static_cast<std::int64_t>(u) * unit;
    real* out = of_unit(dw, u, unit);
    const auto pull = [&](auto round) {
      for (std::int64_t i = 0; i < unit; ++i) {
        const real v = in[i] / scale;
        const real gap = in[i] - round(v, first, last) * scale;
        out[i] += ((v >= lo) & (v <= hi)) ? twice * gap : real{0};
      }
    };
    if (step == 1) {
      pull([](real v, real l, real h) { return round_clamped(v, l, h); });
    } else {
      pull([](real v, real l, real h) { return round_odd(v, l, h); });
    }
  }
}

}  // namespace notch::quant
