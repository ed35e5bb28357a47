// Statistics of a table: what it can claim, and what it cannot.
//
// All models score the same windows, so differences are taken window by window and seed by seed:
// what a hard window or a lucky seed adds to both sides cancels. What is left is taken to be a + b:
// a is a seed's own (V_s = s^2/S, s over the S seeds' means, S - 1 degrees of freedom), b is a
// window's (V_w of blocks of windows, experiments/run/window_error.h). With one seed V_s is unknown and
// left out: the table speaks of the text only.
//
// An interval is mean ± √(t_s^2 V_s + t_w^2 V_w), each t Student's quantile with the degrees of
// freedom of its part. Source: Banerjee 1960, "Approximate confidence interval for linear functions
// of means of k populations when the population variances are not equal", Sankhyā 22. It is never
// too small when the mean is normal and independent of V_s and V_w, whatever their ratio: a
// standard normal z has a P(z^2 > u) that is convex in u, so with λ the share of V_s in the mean's
// variance, P(z^2 > λ t_s^2 V_s/E(V_s) + (1 - λ) t_w^2 V_w/E(V_w)) <= λ α + (1 - λ) α.
// Satterthwaite's degrees of freedom, used before, are estimates themselves: with 2 seeds that
// agree by chance they promise an error known from all windows.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/run/results.h"
#include "experiments/run/window_error.h"

namespace notch::experiments {

/// A difference of mean losses (or another contrast of rows) in nats per token.
struct Difference {
  double mean = 0;
  ErrorPart seeds{}, windows{};
  double low = 0, high = 0;  ///< 95 % interval
  double standard_error() const;
  /// Half of the interval that misses with probability `alpha` at most.
  double half_width(double alpha) const;
  /// The alpha of the interval that ends at `distance`: its two-sided p-value.
  double alpha_of(double distance) const;
  double p() const { return alpha_of(mean); }  ///< two-sided, against zero
  /// Sets low and high from the mean and its errors.
  void enclose();
  bool resolved() const { return low > 0 || high < 0; }
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

/// Files whose sizes differ by this share at most count as equally large.
inline constexpr double kSameBytes = 0.02;

struct MeanSpread {
  double mean = 0;
  double deviation = -1;  ///< sample standard deviation over seeds; -1 with one seed
};
MeanSpread mean_spread(const std::vector<double>& values);

/// Share of the loss that rounding costs which a method takes back:
///   (L_rtn - L) / (L_rtn - L_reference), each L a mean over seeds.
/// L_rtn is the best round-to-nearest row (quant::Family::baseline) of the same width and
/// granularity made from the reference.
struct Recovery {
  std::string rtn{};  ///< the row that it starts from
  double share = 0;
  double low = 0, high = 0;  ///< 95 % interval of the ratio (Fieller 1954)
};
struct Recoveries {
  std::optional<Recovery> from_fp32{};     ///< R: reference fp32
  std::optional<Recovery> from_control{};  ///< R_c: reference the row's control
};

class Statistics {
 public:
  /// `seeds` must outlive this. Throws Fault::usage when seeds have different rows or windows.
  explicit Statistics(const std::vector<SeedResults>& seeds);

  const std::vector<SeedResults>& seeds() const { return seeds_; }
  const std::vector<RowResult>& rows() const { return seeds_.front().rows; }

  /// Mean over seeds of the loss of a row.
  double loss(std::string_view row) const;
  /// Means over seeds of what it takes: seeds may have other outliers, and other widths of layers.
  double file_bytes(std::string_view row) const;
  /// Of fp32's weights, of which a smaller model has fewer.
  double bits_per_weight(std::string_view row) const;
  /// " (+19 % bytes)": what a row takes more, or less, than one that it is compared with; "" where
  /// that is at most kSameBytes.
  std::string other_bytes(std::string_view row, std::string_view than) const;

  /// Loss of `a` minus loss of `b`.
  Difference difference(std::string_view a, std::string_view b) const;

  /// What rounding costs `a`, its loss minus its reference's, minus what it costs `b`.
  Difference cost_difference(const RowResult& a, const RowResult& b) const;

  /// The row that this one is to be as good as: its control, where there is one, else fp32.
  std::string reference_of(const RowResult& row) const;

  /// R_c for rows that have a control, R for those that aim at fp32 or saw no more text. Never both:
  /// a row that saw more text than fp32 and learned from it can pass fp32, and its share of what
  /// rounding costs fp32 says nothing. Empty ("n/a") when the row is round-to-nearest itself, its
  /// control or that one's round-to-nearest row was not made, or the interval of the denominator is
  /// not above zero.
  Recoveries recoveries(const RowResult& row) const;

 private:
  struct Term {
    std::size_t row = 0;
    double weight = 0;
  };
  std::size_t index(std::string_view row) const;
  template <class Get>
  double mean(std::string_view row, const Get& get) const;
  Difference contrast(const std::vector<Term>& terms) const;
  std::optional<std::string> rtn_row(const RowResult& row, std::string_view reference) const;
  std::optional<Recovery> recovery(const RowResult& row, std::string_view reference) const;

  const std::vector<SeedResults>& seeds_;
  std::vector<double> tokens_{};    ///< [windows]
  std::vector<double> losses_{};    ///< [seeds, windows, rows]: summed over a window's tokens
  std::vector<double> measured_{};  ///< [rows]: per token, mean over seeds
};

}  // namespace notch::experiments
