#include "quant/numbers/gaussian_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {
namespace {

/// The integral of (x - c)² over the standard normal density up to t.
double error_up_to(double t, double c) {
  if (t == -std::numeric_limits<double>::infinity()) return 0;
  if (t == std::numeric_limits<double>::infinity()) return 1 + c * c;
  const double below = 0.5 * elementary::erfc(-t / std::numbers::sqrt2);
  const double density = elementary::exp(-t * t / 2) / std::sqrt(2 * std::numbers::pi);
  return (1 + c * c) * below + (2 * c - t) * density;
}

}  // namespace

double gaussian_error(const Grid& grid, double s) {
  check(s > 0 && grid.step > 0, "gaussian fit", "a scale of ", s, " on codes ", grid.step,
        " apart");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto level = [&](int code) { return s * static_cast<double>(grid.level(code)); };
  double sum = 0, lower = -kInfinity;
  for (int q = grid.qmin; q <= grid.qmax; q += grid.step) {
    const bool last = q + grid.step > grid.qmax;
    const double upper = last ? kInfinity : (level(q) + level(q + grid.step)) / 2;
    sum += error_up_to(upper, level(q)) - error_up_to(lower, level(q));
    lower = upper;
  }
  return sum;
}

double gaussian_scale(const Grid& grid) {
  // The last level lies between 0.4 and 8 deviations for every grid of 1 to 8 bits.
  const double last = static_cast<double>(grid.highest());
  check(last > 0, "gaussian fit", "a grid that ends at ", last);
  double best = 0.4 / last, least = std::numeric_limits<double>::infinity();
  constexpr double kStep = 1.05;
  for (double s = best; s <= 8 / last; s *= kStep) {
    if (const double error = gaussian_error(grid, s); error < least) best = s, least = error;
  }
  // Golden section between its neighbours.
  double lo = best / kStep, hi = best * kStep;
  const double share = std::numbers::phi - 1;
  while (hi - lo > 1e-7 * lo) {
    const double a = hi - share * (hi - lo), b = lo + share * (hi - lo);
    (gaussian_error(grid, a) < gaussian_error(grid, b) ? hi : lo) =
        gaussian_error(grid, a) < gaussian_error(grid, b) ? b : a;
  }
  return (lo + hi) / 2;
}

real fitted_scale(std::span<const real> unit, const Spec& spec, double of_normal) {
  constexpr std::size_t kLanes = 16;  // partial sums whatever the vector width
  double lanes[kLanes] = {};
  for (std::size_t i = 0; i < unit.size(); ++i) {
    const auto w = static_cast<double>(unit[i]);
    lanes[i % kLanes] += w * w;
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  if (sum == 0) return scale_range({}, spec, 1).scale;
  const double spread = std::sqrt(sum / static_cast<double>(unit.size()));
  return round_scale(static_cast<real>(of_normal * spread), spec.scale);
}

double trusted_error(const Grid& grid) {
  double most = 0;
  for (int q = grid.qmin; q + grid.step <= grid.qmax; q += grid.step) {
    most = std::max(
        most, static_cast<double>(grid.level(q + grid.step)) - static_cast<double>(grid.level(q)));
  }
  return most / 2;
}

}  // namespace notch::quant
