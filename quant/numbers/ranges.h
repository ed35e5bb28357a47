// Ranges: which interval of weights the grid covers, that is, the choice of scales.
//
// A range is a fraction of the unit's extreme values: scale = absmax · ratio / qmax; the search tries
// 81 ratios. Straight-through training follows the extremes afterwards. Used by RTN, GPTQ (per
// group, on compensated weights) and QAT. Source: the clip search is the usual one (step 0.01); its
// floor is 0.20 because at 2 and 3 bits the best range of a Gaussian row is far below its absmax.
// percentile and entropy are the observers of activations (quant/numbers/observers.h), shown the weights of
// a unit; there is no moving average, because a matrix is one batch: it would be absmax.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/kernels/round.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

enum class RangeRule : std::uint8_t {
  absmax,      ///< ratio 1: nothing is clipped (asymmetric: min-max)
  mse,         ///< the ratio in {1.00, 0.99, …, 0.20} with the least squared error
  lsq_paper,   ///< 2·mean|w| / √qmax between levels: Esser et al. 2020 (arXiv:1902.08153),
               ///< section 2.1
  percentile,  ///< a share of the unit's weights lies inside: with fewer than 1/(1 - share), all
  entropy,     ///< least KL divergence between weights and clipped, quantized weights
};
constexpr auto names(RangeRule) {
  return std::array<std::string_view, 5>{"absmax", "mse", "lsq_paper", "percentile", "entropy"};
}
inline constexpr double kWeightPercentile = 99.9;  ///< of RangeRule::percentile

struct UnitScale {
  real scale = 1;
  int zero_point = 0;
};

/// Scale and zero point of one unit whose range is `ratio` times its extremes; divisions in `real`:
///   magnitude      scale = max|w|·ratio / (highest + reach): narrow and full max|w|·ratio / qmax;
///                  ternary and seq with the outer cells inside the range
///   signed_value   scale = m·ratio / qmin, m the value of largest magnitude (positive on a tie)
///   width          lo = min(w, 0)·ratio, hi = max(w, 0)·ratio, scale = (hi - lo)/(qmax - qmin),
///                  zero_point = clamp(round_half_even(qmin - lo/scale))
/// by the format's ScaleOf (quant/numbers/format.h).
/// The scale is rounded to its stored type (round_scale) before it is used for the zero point.
/// A unit of zeros gets scale 1, zero point 0: it dequantizes to exactly zero in every type. (seq,
/// which has no zero: the smallest scale of the type.)
UnitScale scale_unit(std::span<const real> unit, const Spec& spec, real ratio);
/// The same from the extremes alone (0 included), whatever was observed to find them.
UnitScale scale_range(MinMax range, const Spec& spec, real ratio);

/// The range of a unit in straight-through training: the scale and zero point it began with, and the
/// extremes of its weights then. Numbers only, so that a checkpoint keeps them.
struct RangeAnchor {
  real scale = 1, zero_point = 0, lo = 0, hi = 0;
};
/// The anchors of w's units, which have the scales `at`. `w` are whole units.
std::vector<RangeAnchor> anchor_ranges(std::span<const real> w, const Scales& at, const Spec& spec);
/// The range moves as the extremes do; with e the extent (max|w|, signed_value: the value of largest
/// magnitude, width: hi - lo) of the weights now and e₀ at the anchor, in double:
///   scale = scale₀ · e/e₀      zero_point = clamp(rint(z₀ + (qmax - qmin)(lo₀/e₀ - lo/e)))
/// At the anchor's own weights both are the anchor's, to the bit. A unit of zeros keeps the anchor's
/// scale; if that is only what scale_range gives zeros, it gets the range of its extremes. Weights
/// that have all become zero get what scale_range gives zeros.
UnitScale follow_range(const RangeAnchor& anchor, MinMax now, const Spec& spec);

/// The ratio k/100, k = 100 … 20, whose scale_unit gives the least Σ (w - ŵ)² (in double); ties go
/// to the larger ratio. 1 is a candidate, so the result is never worse than absmax. Parallel over
/// candidates (runs inline inside a parallel_for).
real best_ratio(std::span<const real> unit, const Spec& spec);

struct Ranges {
  Scales at{};
  /// One per unit, such that scale_unit(unit, spec, ratio) gives the unit's scale and zero point
  /// (for lsq_paper up to one rounding; percentile and entropy move the ends of an asymmetric range
  /// one by one, and the ratio is that of the widths).
  std::vector<real> ratios{};
};

/// The scales of w [rows, cols]; `percentile` in (50, 100]. Parallel over units. Formats with levels of their
/// own (quant/numbers/own_levels.h) get those of least squared error by absmax and mse alike, ratios of 1.
/// Errors name `where`: usage (spec does not fit, lsq_paper on an asymmetric grid); numeric (a
/// weight is not finite, or a scale is larger than its stored type can hold).
Ranges choose_scales(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                     const Spec& spec, RangeRule rule, std::string_view where,
                     double percentile = kWeightPercentile);

/// choose_scales for one unit: what GPTQ calls at the first column of a group.
struct UnitRange {
  UnitScale at{};
  real ratio = 1;
};
UnitRange choose_unit(std::span<const real> unit, const Spec& spec, RangeRule rule,
                      double percentile = kWeightPercentile);

}  // namespace notch::quant
