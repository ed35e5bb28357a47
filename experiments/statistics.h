// Paired statistics of rows: what the table can claim, and what it cannot.
//
// All models score the same windows, so differences are taken window by window: what a hard window
// adds to both sides cancels. Windows are the unit because tokens inside one depend on each other.
#pragma once

#include <optional>
#include <vector>

#include "experiments/results.h"

namespace notch::experiments {

/// A mean difference of losses in nats per token, with its standard error over windows (and seeds).
struct Difference {
  double mean = 0;
  double standard_error = 0;
  /// Whether it is clearly not zero: beyond two standard errors.
  bool resolved() const;
};

/// Loss of `a` minus loss of `b`, both rows of every seed. Per seed the difference of token means,
/// with the standard error of a ratio of window sums (infinite for one window); over seeds the
/// mean, with √Σse²/n. Throws a usage error when the rows were scored on different windows.
Difference paired_difference(const std::vector<SeedResults>& seeds, std::string_view a,
                             std::string_view b);

struct MeanSpread {
  double mean = 0;
  double deviation = -1;  ///< sample standard deviation over seeds; -1 with one seed
};
MeanSpread mean_spread(const std::vector<double>& values);

/// Share of the loss that rounding costs which a method takes back, in nats, per seed and then
/// averaged:
///   (L_rtn - L) / (L_rtn - L_reference)
/// L_rtn is the better of the two round-to-nearest rows ("rtn", "rtn-mse") of the same width and
/// granularity made from the same model as the reference.
struct Recoveries {
  std::optional<MeanSpread> from_fp32{};     ///< R: reference fp32
  std::optional<MeanSpread> from_control{};  ///< R_c: reference fp32-continue
};

/// A denominator at or below this many nats is not worth a share: within it two models count as
/// equal.
inline constexpr double kEquivalent = 0.002;

/// Both where they are defined: R for rows made from fp32; R_c for rows that saw the extra steps
/// and no teacher (a distilled row aims at fp32, not at the control). Empty ("n/a") when the row is
/// round-to-nearest itself, a reference is missing, or the denominator is not clearly above zero:
/// not resolved, or not above kEquivalent.
Recoveries recoveries(const std::vector<SeedResults>& seeds, const RowResult& row);

}  // namespace notch::experiments
