#include "quant/kernels/fake_quant.h"

#include <cmath>

#include "autograd/base/simd.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kLanes = 16;  // as round.cpp: partial sums whatever the vector width

}  // namespace

NOTCH_CLONES void clipped_ste_backward(std::span<real> dw, std::span<const real> dout,
                                       std::span<const real> w, std::span<const real> scales,
                                       std::span<const std::int8_t> zero_points, std::int64_t unit,
                                       int qmin, int qmax, real reach) {
  if (dw.empty()) return;
  for (std::size_t u = 0; u < scales.size(); ++u) {
    const real scale = scales[u];
    const int z = zero_points.empty() ? 0 : zero_points[u];
    const real lo = kInside * (static_cast<real>(qmin - z) - reach);
    const real hi = kInside * (static_cast<real>(qmax - z) + reach);
    const std::int64_t at = static_cast<std::int64_t>(u) * unit;
    const real* in = w.data() + at;
    const real* d = dout.data() + at;
    real* out = dw.data() + at;
    for (std::int64_t i = 0; i < unit; ++i) {
      const real v = in[i] / scale;
      out[i] += ((v >= lo) & (v <= hi)) ? d[i] : real{0};
    }
  }
}

NOTCH_CLONES void lsq_backward(std::span<real> dw, std::span<real> dlog, std::span<const real> dout,
                               std::span<const real> w, std::span<const real> scales,
                               std::int64_t unit, int qmin, int qmax, double factor, int step,
                               real reach) {
  const real first = static_cast<real>(qmin), last = static_cast<real>(qmax);
  const real lo = first - reach, hi = last + reach;
  const real lowest = kInside * lo, highest = kInside * hi;
  for (std::size_t u = 0; u < scales.size(); ++u) {
    const real scale = scales[u];
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
    // ŵ/s - (v inside, 0 outside): rint(v) - v inside, the clipped code outside. At equality both
    // branches of eq. 3 hold for the code and the paper takes qmin or qmax; so does this.
    const auto term = [&](std::int64_t i, real v, real code) {
      const real inside = ((v > lo) & (v < hi)) ? v : real{0};
      return static_cast<double>(d[i]) * static_cast<double>(code - inside);
    };
    const auto add = [&](auto round) {
      const std::int64_t whole = unit - unit % kLanes;
      for (std::int64_t i = 0; i < whole; i += kLanes) {
        for (std::int64_t l = 0; l < kLanes; ++l) {
          const real v = in[i + l] / scale;
          lanes[l] += term(i + l, v, round(v, first, last));
        }
      }
      for (std::int64_t i = whole; i < unit; ++i) {
        const real v = in[i] / scale;
        lanes[i - whole] += term(i, v, round(v, first, last));
      }
    };
    if (step == 1) {
      add([](real v, real l, real h) { return round_clamped(v, l, h); });
    } else {
      add([](real v, real l, real h) { return round_odd(v, l, h); });
    }
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
