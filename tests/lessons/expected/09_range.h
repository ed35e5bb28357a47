#pragma once

#include <algorithm>
#include <span>

#include "autograd/base/rng.h"
#include "tests/lessons/expected.h"

namespace notch::test {

/// Mean square error of values whose range [-c, c] has 2n + 1 codes; in double, by the formula.
inline double range_error(std::span<const float> w, double c, int n) {
  double sum = 0;
  for (const float v : w) {
    const double code = std::clamp<double>(std::nearbyint(static_cast<double>(v) * n / c), -n, n);
    sum += std::pow(static_cast<double>(v) - code * c / n, 2);
  }
  return sum / static_cast<double>(w.size());
}

inline double largest_of(std::span<const float> w) {
  double largest = 0;
  for (const float v : w) largest = std::max<double>(largest, std::fabs(v));
  return largest;
}

/// The least error of the ranges 1.00, 0.99, ..., 0.20 of the largest, and its c.
struct BestRange {
  double c = 0, error = 0;
};
inline BestRange best_range(std::span<const float> w, int n) {
  const double largest = largest_of(w);
  BestRange best{largest, range_error(w, largest, n)};
  for (int percent = 99; percent >= 20; --percent) {
    const double c = percent / 100.0 * largest, error = range_error(w, c, n);
    if (error < best.error) best = {c, error};
  }
  return best;
}

inline Table range() {
  Table t;
  // Uniform quantizers of N(0, 1): J. Max, Quantizing for minimum distortion, IRE Trans. Inform.
  // Theory 6 (1960), table II: 3 levels 1.224 apart, error 0.1902; 7 levels 0.6508 apart, error
  // 0.0469. The search has steps of 0.043, the sample 65536 values.
  t << near("clip2", 1.224, 0.04) << near("error2", 0.1902, 0.003);
  t << near("clip3", 3 * 0.6508, 0.06) << near("error3", 0.0469, 0.001);
  // The rest by the same definition in double, on the same random numbers.
  Rng rng(9);
  std::vector<float> w(65536);
  for (float& v : w) v = static_cast<float>(rng.normal());
  for (const auto& [bits, n] : {std::pair{2, 1}, {3, 3}, {4, 7}, {8, 127}}) {
    const std::string name = std::to_string(bits);
    const BestRange best = best_range(w, n);
    if (bits > 3)
      t << near("clip" + name, best.c, 1e-5) << near("error" + name, best.error, 1e-5 * best.error);
    const double gain = range_error(w, largest_of(w), n) / best.error;
    t << near("gain" + name, gain, 1e-4 * gain);
  }
  double absmax = 0, searched = 0;
  for (std::size_t first = 0; first < w.size(); first += 256) {
    const std::span<const float> row = std::span(w).subspan(first, 256);
    absmax += range_error(row, largest_of(row), 7) / 256;
    searched += best_range(row, 7).error / 256;
  }
  t << near("rule.absmax", absmax, 1e-5) << near("rule.mse", searched / absmax, 1e-4);
  return t;
}

}  // namespace notch::test
