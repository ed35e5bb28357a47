#include "quant/numbers/ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "autograd/base/error.h"
#include "autograd/base/names.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/observers.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

constexpr int kLargestPercent = 100, kSmallestPercent = 20;
constexpr int kCandidates = kLargestPercent - kSmallestPercent + 1;

/// scale_unit before the scale is stored: what overflows a stored type is visible here only.
real raw_scale(MinMax range, const Spec& spec, real ratio) {
  const Grid grid = grid_of(spec);
  switch (format_of(spec.grid).scale) {
    case ScaleOf::magnitude:
      return std::max(-range.lo, range.hi) * ratio / (grid.highest() + grid.reach);
    case ScaleOf::signed_value:
      return (range.hi >= -range.lo ? range.hi : range.lo) * ratio / grid.lowest();
    case ScaleOf::width:
      return (range.hi * ratio - range.lo * ratio) / static_cast<real>(grid.qmax - grid.qmin);
  }
  return 0;
}

/// What a scale is proportional to.
double width_of(MinMax range, const Spec& spec) {
  switch (format_of(spec.grid).scale) {
    case ScaleOf::magnitude:
      return static_cast<double>(std::max(-range.lo, range.hi));
    case ScaleOf::signed_value:
      return static_cast<double>(range.hi >= -range.lo ? range.hi : range.lo);
    case ScaleOf::width:
      return static_cast<double>(range.hi) - static_cast<double>(range.lo);
  }
  return 0;
}

/// What a unit of zeros gets. Without a zero level the best is the smallest scale there is.
UnitScale zero_unit(const Spec& spec) {
  const Grid grid = grid_of(spec);
  const bool has_zero = grid.level(grid.nearest(0)) == 0;
  return {.scale = has_zero ? real{1} : round_scale(0, spec.scale)};
}

real best_ratio(std::span<const real> unit, MinMax range, const Spec& spec) {
  if (range.lo == 0 && range.hi == 0) return 1;
  const Grid grid = grid_of(spec);
  const auto ratio_of = [](std::int64_t i) {
    return static_cast<real>(kLargestPercent - i) / static_cast<real>(100);
  };
  // Bounds first: few candidates can have the least error, and only those are summed exactly.
  std::array<UnitScale, kCandidates> scales{};
  std::array<double, kCandidates> least{}, errors{};
  double most = std::numeric_limits<double>::infinity();
  const bool bounded = grid.is_every_integer();
  if (bounded) {
    std::array<double, kCandidates> greatest{};
    parallel_for(kCandidates, [&](std::int64_t i) {
      const std::size_t c = static_cast<std::size_t>(i);
      scales[c] = scale_range(range, spec, ratio_of(i));
      const double scale = static_cast<double>(scales[c].scale), size = scale * scale;
      if (!(size > 0x1p-240 && size < 0x1p240)) {  // the reciprocal may not be normal
        greatest[c] = std::numeric_limits<double>::infinity();
        return;
      }
      const double slack = 0x1p-18 * static_cast<double>(unit.size());
      const double sum = rough_squared_error(unit, scales[c].scale, scales[c].zero_point, grid);
      least[c] = size * (sum * (1 - 0x1p-10) - slack);
      greatest[c] = size * (sum * (1 + 0x1p-10) + slack);
    });
    for (const double error : greatest) most = std::min(most, error);
  }
  parallel_for(kCandidates, [&](std::int64_t i) {
    const std::size_t c = static_cast<std::size_t>(i);
    if (!bounded) scales[c] = scale_range(range, spec, ratio_of(i));
    errors[c] = least[c] > most ? std::numeric_limits<double>::infinity()
                                : squared_error(unit, scales[c].scale, scales[c].zero_point, grid);
  });
  return ratio_of(std::min_element(errors.begin(), errors.end()) - errors.begin());
}

/// The range that an observer of activations finds in the unit, whose extremes are `seen`.
UnitRange observed_range(std::span<const real> unit, MinMax seen, const Spec& spec, RangeRule rule,
                         double percentile) {
  const bool symmetric = !has_zero_points(spec);
  Observer observer(
      {.bits = std::max(spec.bits, 2),
       .symmetric = symmetric,
       .range = ActivationRange::fixed,
       .observer = rule == RangeRule::entropy ? ObserverRule::entropy : ObserverRule::percentile,
       .percentile = percentile});
  observer.observe(unit);
  const MinMax range = observer.range();
  UnitRange chosen;
  if (symmetric) {
    chosen.ratio = std::max(-range.lo, range.hi) / std::max(-seen.lo, seen.hi);
    chosen.at = scale_range(seen, spec, chosen.ratio);
  } else {
    chosen.ratio = (range.hi - range.lo) / (seen.hi - seen.lo);
    chosen.at = scale_range(range, spec, 1);
  }
  return chosen;
}

}  // namespace

UnitScale scale_range(MinMax range, const Spec& spec, real ratio) {
  if (range.lo == 0 && range.hi == 0) return zero_unit(spec);
  UnitScale at{.scale = round_scale(raw_scale(range, spec, ratio), spec.scale)};
  if (has_zero_points(spec)) {
    const Grid grid = grid_of(spec);
    const real lo = static_cast<real>(grid.qmin), hi = static_cast<real>(grid.qmax);
    at.zero_point = static_cast<int>(round_clamped(lo - range.lo * ratio / at.scale, lo, hi));
  }
  return at;
}

std::vector<RangeAnchor> anchor_ranges(std::span<const real> w, const Scales& at,
                                       const Spec& spec) {
  std::vector<RangeAnchor> anchors(at.scales.size());
  const std::size_t unit = anchors.empty() ? 0 : w.size() / anchors.size();
  for (std::size_t u = 0; u < anchors.size(); ++u) {
    const MinMax seen = min_max(w.subspan(u * unit, unit));
    anchors[u] = {.scale = at.scales[u], .lo = seen.lo, .hi = seen.hi};
    if (has_zero_points(spec)) anchors[u].zero_point = static_cast<real>(at.zero_points[u]);
  }
  return anchors;
}

UnitScale follow_range(const RangeAnchor& anchor, MinMax now, const Spec& spec) {
  const double then = width_of({.lo = anchor.lo, .hi = anchor.hi}, spec);
  const double here = width_of(now, spec);
  if (then == 0) {
    if (anchor.scale == zero_unit(spec).scale) return scale_range(now, spec, 1);
    return {.scale = anchor.scale, .zero_point = static_cast<int>(anchor.zero_point)};
  }
  if (here == 0) return zero_unit(spec);
  const double scale = static_cast<double>(anchor.scale) * (here / then);
  UnitScale at{.scale = round_scale(static_cast<real>(scale), spec.scale)};
  if (has_zero_points(spec)) {
    const Grid grid = grid_of(spec);
    const double moved = static_cast<double>(anchor.lo) / then - static_cast<double>(now.lo) / here;
    const double z = static_cast<double>(anchor.zero_point) + (grid.qmax - grid.qmin) * moved;
    at.zero_point = static_cast<int>(round_clamped(
        static_cast<real>(z), static_cast<real>(grid.qmin), static_cast<real>(grid.qmax)));
  }
  return at;
}

UnitScale scale_unit(std::span<const real> unit, const Spec& spec, real ratio) {
  return scale_range(min_max(unit), spec, ratio);
}

real best_ratio(std::span<const real> unit, const Spec& spec) {
  return best_ratio(unit, min_max(unit), spec);
}

UnitRange choose_unit(std::span<const real> unit, const Spec& spec, RangeRule rule,
                      double percentile) {
  const MinMax range = min_max(unit);
  UnitRange chosen{.at = zero_unit(spec)};
  if (range.lo == 0 && range.hi == 0) return chosen;
  if (rule == RangeRule::mse) chosen.ratio = best_ratio(unit, range, spec);
  if (rule == RangeRule::percentile || rule == RangeRule::entropy) {
    return observed_range(unit, range, spec, rule, percentile);
  }
  if (rule == RangeRule::lsq_paper) {
    const double mean = sum_of_magnitudes(unit) / static_cast<double>(unit.size());
    const Grid grid = grid_of(spec);
    const double spacing = grid.spacing(), levels = static_cast<double>(grid.highest()) / spacing;
    const double step = 2 * mean / std::sqrt(levels) / spacing;
    const real absmax_step = raw_scale(range, spec, 1);
    const real signed_step = std::copysign(static_cast<real>(step), absmax_step);
    chosen.ratio = signed_step / absmax_step;
    chosen.at.scale = round_scale(signed_step, spec.scale);
    return chosen;
  }
  chosen.at = scale_range(range, spec, chosen.ratio);
  return chosen;
}

Ranges choose_scales(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                     const Spec& spec, RangeRule rule, std::string_view where, double percentile) {
  validate(spec, cols, where);
  check(rows >= 0 && cols >= 0 && std::ssize(w) == rows * cols, where, "got ", w.size(),
        " weights for a matrix of [", rows, ", ", cols, "]");
  check(rule != RangeRule::lsq_paper || !has_zero_points(spec), where,
        "range rule lsq_paper is for symmetric grids; use absmax or mse with the asymmetric grid");
  require_finite(w, cols, where);
  if (has_own_levels(spec)) {
    check(rule == RangeRule::absmax || rule == RangeRule::mse, where, "levels of the ",
          name_of(spec.grid), " grid follow from squared errors, not from the range rule ",
          word_of(rule));
    return {.at = choose_levels(w, rows, cols, spec, where),
            .ratios =
                std::vector<real>(static_cast<std::size_t>(unit_count(spec, rows, cols)), real{1})};
  }
  const std::size_t units = static_cast<std::size_t>(unit_count(spec, rows, cols));
  const std::size_t unit = static_cast<std::size_t>(unit_size(spec, rows, cols));
  Ranges ranges;
  ranges.at.scales.resize(units);
  ranges.at.zero_points.resize(has_zero_points(spec) ? units : 0);
  ranges.ratios.resize(units);
  const auto choose = [&](std::int64_t u) {
    const std::size_t i = static_cast<std::size_t>(u);
    const std::span<const real> weights = w.subspan(i * unit, unit);
    // A stored type that is too small would clip without a word.
    const real widest = raw_scale(min_max(weights), spec, 1);
    if (!(std::fabs(widest) <= max_scale(spec.scale))) {
      throw Error({.fault = Fault::numeric,
                   .where = std::string(where),
                   .what = str("the scale of unit ", u, " does not fit its stored type"),
                   .field = str("row ", i * unit / static_cast<std::size_t>(cols)),
                   .found = str(widest),
                   .expected = str("at most ", max_scale(spec.scale), " for ", word_of(spec.scale)),
                   .hint = "store scales as f32 or bf16"});
    }
    const UnitRange chosen = choose_unit(weights, spec, rule, percentile);
    ranges.at.scales[i] = chosen.at.scale;
    if (has_zero_points(spec)) {
      ranges.at.zero_points[i] = static_cast<std::int8_t>(chosen.at.zero_point);
    }
    ranges.ratios[i] = chosen.ratio;
  };
  // One unit: called here, so that the search may spread its candidates over the threads.
  if (units == 1)
    choose(0);
  else
    parallel_for(static_cast<std::int64_t>(units), choose);
  return ranges;
}

}  // namespace notch::quant
