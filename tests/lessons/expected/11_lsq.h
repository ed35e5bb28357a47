#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/rng.h"
#include "tests/lessons/expected.h"

namespace notch::test {

/// Mean of (ŵ - w)² on the codes -top … top, and LSQ's gradient of it (Esser et al. 2020, eq. 3),
/// in double.
struct StepError {
  double error = 0, gradient = 0;
};
inline StepError step_error(const std::vector<double>& w, double s, double top) {
  StepError out;
  for (const double x : w) {
    const double v = x / s, code = std::nearbyint(std::clamp(v, -top, top));
    out.error += (s * code - x) * (s * code - x) / static_cast<double>(w.size());
    out.gradient += 2 * (s * code - x) * (std::fabs(v) < top ? code - v : code);
  }
  return out;
}

// By hand: v = (3.7, 9.5, -12, 0.4), codes (4, 7, -8, 0); code - v where -8 < v < 7. Frozen: the same
// sum, 0.3 + 7 - 8 - 0.4 = -1.1; true: 4 + 7 - 8 = 3. The paper's first step: 2 · 0.64 / √7.
inline Table lsq() {
  Table t;
  t << each("codes", {4, 7, -8, 0}) << near("slopes.0", 0.3, 1e-6) << near("slopes.1", 7, 1e-5)
    << near("slopes.2", -8, 1e-5) << near("slopes.3", -0.4, 1e-6) << each("dw", {1, 0, 0, 1})
    << near("frozen", -1.1, 1e-6) << near("stairs", 3, 1e-6)
    << near("factor", 1 / std::sqrt(28.0), 1e-12) << near("scaled", -1.1 / std::sqrt(28.0), 1e-6)
    << near("log_step", -0.11 / std::sqrt(28.0), 1e-7)
    << near("start", 1.28 / std::sqrt(7.0), 1e-9);
  // The code is 5, 4, 3 between the ties at v = 4.5 and 3.5; the mean of v = 0.37/s is a logarithm.
  const double a = 0.37 / 5, b = 0.37 / 4.5, c = 0.37 / 3.5, d = 0.37 / 3;
  const double codes = (5 * (b - a) + 4 * (c - b) + 3 * (d - c)) / (d - a);
  t << near("by_codes", codes, 2e-3)
    << near("by_lsq", codes - 0.37 * std::log(5.0 / 3) / (d - a), 2e-3);
  Rng rng(11);
  std::vector<double> w(256);
  for (double& x : w) x = rng.normal();
  const double largest = std::fabs(
      *std::ranges::max_element(w, [](double x, double y) { return std::fabs(x) < std::fabs(y); }));
  for (const int bits : {3, 2}) {
    const double top = (1 << (bits - 1)) - 1, absmax = largest / top;
    const std::string key = std::to_string(bits) + ".";
    double best = step_error(w, absmax, top).error;
    for (int k = 99; k >= 20; --k)
      best = std::min(best, step_error(w, absmax * k / 100, top).error);
    // LSQ rests where its gradient is 0: halving between a step that is too small and one too large.
    double low = absmax / 5, high = absmax;
    for (int i = 0; i < 50; ++i) {
      const double middle = (low + high) / 2;
      (step_error(w, middle, top).gradient > 0 ? high : low) = middle;
    }
    t << near(key + "absmax", step_error(w, absmax, top).error, 1e-5)
      << near(key + "searched", best, 1e-5)
      << near(key + "learned", step_error(w, low, top).error, 2e-3 * best)
      << near(key + "ratio", low / absmax, 0.005);
  }
  return t;
}

}  // namespace notch::test
