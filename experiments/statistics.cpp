#include "experiments/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace notch::experiments {
namespace {

constexpr double kClear = 2;  // standard errors

/// Difference of one seed. The token mean is a ratio of sums over windows, so its error is that of
/// a ratio estimator: residuals d_i - mean n_i.
Difference of_seed(const RowResult& a, const RowResult& b) {
  check(a.eval.window_tokens == b.eval.window_tokens, a.name, "and ", b.name,
        " were scored on different windows");
  const auto& tokens = a.eval.window_tokens;
  double difference = 0, total = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    difference += a.eval.window_losses[i] - b.eval.window_losses[i];
    total += static_cast<double>(tokens[i]);
  }
  Difference out{.mean = difference / total};
  double squares = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const double residual = a.eval.window_losses[i] - b.eval.window_losses[i] -
                            out.mean * static_cast<double>(tokens[i]);
    squares += residual * residual;
  }
  const auto n = static_cast<double>(tokens.size());
  // One window says nothing about its own error: nothing is resolved.
  out.standard_error =
      n > 1 ? std::sqrt(squares * n / (n - 1)) / total : std::numeric_limits<double>::infinity();
  return out;
}

const RowResult& required(const SeedResults& seed, std::string_view name) {
  const RowResult* row = find_row(seed, name);
  check(row != nullptr, name, "is not a row of seed ", seed.seed);
  return *row;
}

/// The round-to-nearest row that a recovery starts from: the better one, chosen by its mean over
/// seeds so that all seeds compare with the same method.
std::optional<std::string> rtn_row(const std::vector<SeedResults>& seeds, const RowResult& row,
                                   bool on_control) {
  std::optional<std::string> best;
  double best_loss = 0;
  for (const RowResult& r : seeds.front().rows) {
    const bool rtn = r.method == "rtn" || r.method == "rtn-mse";
    if (!rtn || r.on_control != on_control || r.bits != row.bits ||
        r.granularity != row.granularity) {
      continue;
    }
    double loss = 0;
    for (const SeedResults& s : seeds) loss += required(s, r.name).eval.loss;
    if (!best || loss < best_loss) {
      best = r.name;
      best_loss = loss;
    }
  }
  return best;
}

std::optional<MeanSpread> recovery(const std::vector<SeedResults>& seeds, const RowResult& row,
                                   std::string_view reference, bool on_control) {
  const std::optional<std::string> rtn = rtn_row(seeds, row, on_control);
  if (!rtn || !find_row(seeds.front(), reference)) return std::nullopt;
  const Difference cost = paired_difference(seeds, *rtn, reference);
  if (!cost.resolved() || cost.mean <= kEquivalent) return std::nullopt;
  std::vector<double> shares;
  for (const SeedResults& s : seeds) {
    const double L_rtn = required(s, *rtn).eval.loss;
    const double L_reference = required(s, reference).eval.loss;
    shares.push_back((L_rtn - required(s, row.name).eval.loss) / (L_rtn - L_reference));
  }
  return mean_spread(shares);
}

}  // namespace

bool Difference::resolved() const { return std::abs(mean) > kClear * standard_error; }

Difference paired_difference(const std::vector<SeedResults>& seeds, std::string_view a,
                             std::string_view b) {
  Difference out;
  double squares = 0;
  for (const SeedResults& s : seeds) {
    const Difference d = of_seed(required(s, a), required(s, b));
    out.mean += d.mean;
    squares += d.standard_error * d.standard_error;
  }
  const auto n = static_cast<double>(seeds.size());
  out.mean /= n;
  out.standard_error = std::sqrt(squares) / n;
  return out;
}

MeanSpread mean_spread(const std::vector<double>& values) {
  MeanSpread out;
  for (const double v : values) out.mean += v / static_cast<double>(values.size());
  if (values.size() < 2) return out;
  double squares = 0;
  for (const double v : values) squares += (v - out.mean) * (v - out.mean);
  out.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return out;
}

Recoveries recoveries(const std::vector<SeedResults>& seeds, const RowResult& row) {
  Recoveries out;
  if (row.granularity.empty() || row.method == "rtn" || row.method == "rtn-mse") return out;
  if (!row.on_control) out.from_fp32 = recovery(seeds, row, "fp32", false);
  if (row.on_control || (row.trained && !row.distilled)) {
    out.from_control = recovery(seeds, row, "fp32-continue", true);
  }
  return out;
}

}  // namespace notch::experiments
