// Axes of a plot: from values to what grows evenly along an axis, and where it is divided.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "experiments/show/plot.h"

namespace notch::experiments {

/// A number beside an axis: six digits at most, with a minus sign of the width of a plus.
std::string general(double x);

/// From values to a coordinate that grows with them: the identity, or a symmetric logarithm.
struct Scale {
  double linear_to = 0;  ///< 0: linear everywhere
  double operator()(double v) const {
    if (linear_to <= 0) return v;
    const double m = std::abs(v) / linear_to;
    return std::copysign(m <= 1 ? m : 1 + std::log10(m), v);
  }
};

/// Symmetric-logarithmic where a linear axis would press most values together and the plot allows
/// it. The linear part covers the side of zero with the smaller values, where methods are to be told
/// apart, and the lower quartile of magnitudes; it is at least 1e-4 of the largest.
Scale choose_scale(const Plot& plot);

struct Range {
  double low = 0, high = 0;
  bool empty = true;
  void add(double v) {
    if (!std::isfinite(v)) return;
    low = empty ? v : std::min(low, v);
    high = empty ? v : std::max(high, v);
    empty = false;
  }
  /// At least a little wide, so that one value has a place. Values that differ by rounding only,
  /// such as means over other seeds of the same size, are one.
  void widen(double share, double least) {
    const bool one = high - low <= 1e-9 * std::max(std::abs(low), std::abs(high));
    const double visible = std::max(least, 1e-9 * std::max(std::abs(low), std::abs(high)));
    const double more = std::max(share * (high - low), one ? visible : 0);
    low -= more;
    high += more;
  }
};

struct Tick {
  double value = 0;
  std::string label{};
};
std::vector<Tick> ticks_of(const Scale& scale, const Range& scaled);

/// 1, 2 and 5 times powers of ten with logarithms in [low, high]; of many powers only those.
std::vector<double> log_numbers(double low, double high);

}  // namespace notch::experiments
