// Statistics of a table: what it can claim, and what it cannot.
//
// All models score the same windows, so differences are taken window by window and seed by seed:
// what a hard window or a lucky seed adds to both sides cancels. Errors come from resampling seeds
// and windows (experiments/resampling.h); since seeds are few, intervals and p-values use Student's
// t with Satterthwaite's degrees of freedom instead of the resamples' own percentiles, which are
// too narrow for 3 or 5 seeds. With one seed they speak of the text only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/resampling.h"
#include "experiments/results.h"

namespace notch::experiments {

/// A difference of mean losses (or another contrast of rows) in nats per token.
struct Difference {
  double mean = 0;
  double standard_error = 0;
  double df = 0;             ///< Satterthwaite's degrees of freedom of the standard error
  double low = 0, high = 0;  ///< 95 % interval
  double p = 1;              ///< two-sided, against zero
  bool resolved() const { return p < 0.05; }
};

/// TOST (Schuirmann 1987): both one-sided tests against ±margin.
struct Equivalence {
  double low = 0, high = 0;  ///< 90 % interval
  double p = 1;              ///< the larger of the two
  bool holds() const { return p < 0.05; }
};
/// Within this many nats two models count as equal.
inline constexpr double kEquivalent = 0.002;
Equivalence equivalence(const Difference& d, double margin = kEquivalent);

/// Holm's adjusted p-values (Holm 1979), in the order given: the k-th smallest of m times m - k +
/// 1, made monotone, at most 1.
std::vector<double> holm(const std::vector<double>& p);

struct MeanSpread {
  double mean = 0;
  double deviation = -1;  ///< sample standard deviation over seeds; -1 with one seed
};
MeanSpread mean_spread(const std::vector<double>& values);

/// Share of the loss that rounding costs which a method takes back:
///   (L_rtn - L) / (L_rtn - L_reference), each L a mean over seeds.
/// L_rtn is the better of the two round-to-nearest rows ("rtn", "rtn-mse") of the same width and
/// granularity made from the same model as the reference.
struct Recovery {
  double share = 0;
  double low = 0, high = 0;  ///< 95 % interval of the ratio
};
struct Recoveries {
  std::optional<Recovery> from_fp32{};     ///< R: reference fp32
  std::optional<Recovery> from_control{};  ///< R_c: reference fp32-continue
};

class Statistics {
 public:
  static constexpr std::int64_t kResamples = 10'000;

  /// `seeds` must outlive this. Throws Fault::usage when seeds have different rows or windows.
  explicit Statistics(const std::vector<SeedResults>& seeds);

  const std::vector<SeedResults>& seeds() const { return seeds_; }
  const std::vector<RowResult>& rows() const { return seeds_.front().rows; }

  /// Mean over seeds of the loss of a row.
  double loss(std::string_view row) const;

  /// Loss of `a` minus loss of `b`.
  Difference difference(std::string_view a, std::string_view b) const;

  /// R for rows made from fp32; R_c for rows that saw the extra steps and no teacher (a distilled
  /// row aims at fp32, not at the control). Empty ("n/a") when the row is round-to-nearest itself,
  /// a reference is missing, or the interval of the denominator is not above zero. The interval of
  /// the share is that of the resampled ratios, widened about the estimate by t/z for few seeds.
  Recoveries recoveries(const RowResult& row) const;

 private:
  struct Term {
    std::size_t row = 0;
    double weight = 0;
  };
  std::size_t index(std::string_view row) const;
  Difference contrast(const std::vector<Term>& terms) const;
  std::optional<std::string> rtn_row(const RowResult& row, bool on_control) const;
  std::optional<Recovery> recovery(const RowResult& row, std::string_view reference,
                                   bool on_control) const;

  const std::vector<SeedResults>& seeds_;
  Resamples resamples_;
};

}  // namespace notch::experiments
