// The sweep of GPTQ: every row of W on its way through the columns. quant/methods/gptq.h has the algorithm.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "quant/methods/gptq.h"
#include "quant/methods/gptq_factor.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

struct Sweep {
  const ColumnOrder& order;
  const HessianFactor& factor;
  const GptqOptions& options;
  bool dynamic_groups = false;     ///< scales of a group from the weights when it is reached
  bool search_clip = false;        ///< Clip::output, where rows have scales of their own
  std::span<const real> ratios{};  ///< per unit, as in Ranges; unused with dynamic groups
  std::span<const std::uint8_t>
      keep{};                      ///< [rows, cols], 0 where ŵ = 0 whatever the target; or nothing
  std::span<const real> ranged{};  ///< w, 0 where that is so: the extremes of ranges
  double least_gain = 0;    ///< leave-one-out gain of outliers (quant/methods/spqr.h) …
  std::span<real> rests{};  ///< … of which this gets w - ŵ, in float16; or nothing: no outliers
};

/// Rounds w [q.rows, q.cols]: writes q.codes and, of dynamic groups, with a search and of bilevel ones,
/// the scales; other scales are read. losses[r] = Σ_j (t_j - ŵ_j)² R_jj² over live columns, t the weights as
/// they are when they are rounded; not finite where a row diverged. Parallel over rows.
void sweep(const Sweep& sweep, std::span<const real> w, QTensor& q, std::span<double> losses);

/// losses[r] = Σ_j (Σ_{i<=j} (w_i - ŵ_i) R_ij)² over live columns: tr(dW (H + λI) dWᵀ) by rows, for
/// any codes. Of the sweep's own it is what the sweep reports, up to rounding. Parallel over rows.
void measure(const ColumnOrder& order, const HessianFactor& factor, std::span<const real> w,
             const QTensor& q, std::span<double> losses);

/// Rows [first, first + rows) of w in the order of the sweep, as a strip (quant/methods/column_update.h);
/// zeros beyond.
std::vector<real> strip_of(std::span<const real> w, std::int64_t first, std::int64_t rows,
                           const ColumnOrder& order);

/// The ratio (quant/numbers/ranges.h) of a unit by the options' rule, before any search.
real first_ratio(std::span<const real> unit, const Spec& spec, const GptqOptions& options);

/// What a search multiplies ratios by. Scales are never widened beyond the extremes.
inline constexpr std::array<double, 9> kClipMultiples{1.0,  0.7,  0.8, 0.88, 0.94,
                                                      1.07, 1.15, 1.3, 1.6};
real searched_ratio(real first, double multiple);

}  // namespace notch::quant
