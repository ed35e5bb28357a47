#include "quant/methods/leave_one_out.h"

#include <algorithm>

#include "autograd/base/extents.h"
#include "quant/kernels/grid.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {
namespace {

/// The extremes of a unit, 0 included, and what they are without one of the weights that reach them.
struct Extremes {
  real first = 0, second = 0;  // by distance from 0, on one side of it

  void see(real size) {
    if (size > first) {
      second = first;
      first = size;
    } else if (size > second) {
      second = size;
    }
  }
  real without(real size) const { return size == first ? second : first; }
};

}  // namespace

std::vector<double> leave_one_out_gains(std::span<const real> unit, std::span<const double> a,
                                        const Spec& spec) {
  require_extent("leave one out", std::ssize(unit), a);
  const Grid grid = grid_of(spec);
  Extremes low, high;
  for (const real w : unit) {
    low.see(-w);
    high.see(w);
  }
  const auto errors = [&](MinMax range) {
    const UnitScale at = scale_range(range, spec, 1);
    std::vector<double> of(unit.size());
    for (std::size_t i = 0; i < unit.size(); ++i) {
      const real rounded =
          grid.level(grid.nearest(unit[i] / at.scale, at.zero_point), at.zero_point) * at.scale;
      const double e = a[i] * (static_cast<double>(unit[i]) - static_cast<double>(rounded));
      of[i] = e * e;
    }
    return of;
  };
  const auto sum = [](const std::vector<double>& of) {
    double all = 0;
    for (const double e : of) all += e;
    return all;
  };
  const MinMax range{-low.first, high.first};
  std::vector<double> gains = errors(range);
  const double all = sum(gains);
  for (std::size_t i = 0; i < unit.size(); ++i) {
    const MinMax rest{unit[i] < 0 ? -low.without(-unit[i]) : range.lo,
                      unit[i] > 0 ? high.without(unit[i]) : range.hi};
    if (rest.lo == range.lo && rest.hi == range.hi) continue;
    const std::vector<double> left = errors(rest);
    gains[i] = all - (sum(left) - left[i]);
  }
  return gains;
}

}  // namespace notch::quant
