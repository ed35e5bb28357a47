#include "experiments/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "experiments/student.h"

namespace notch::experiments {
namespace {

const RowResult& required(const SeedResults& seed, std::string_view name) {
  const RowResult* row = find_row(seed, name);
  check(row != nullptr, name, "is not a row of seed ", seed.seed);
  return *row;
}

WindowLosses window_losses(const std::vector<SeedResults>& seeds) {
  check(!seeds.empty() && !seeds.front().rows.empty(), "statistics", "there are no rows");
  const std::vector<RowResult>& rows = seeds.front().rows;
  const std::vector<std::int64_t>& tokens = rows.front().eval.window_tokens;
  WindowLosses out{.rows = std::ssize(rows),
                   .windows = std::ssize(tokens),
                   .seeds = std::ssize(seeds),
                   .tokens = {tokens.begin(), tokens.end()}};
  out.losses.resize(seeds.size() * tokens.size() * rows.size());
  for (std::size_t s = 0; s < seeds.size(); ++s) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Evaluation& e = required(seeds[s], rows[i].name).eval;
      check(e.window_tokens == tokens, rows[i].name, "scored on other windows than ",
            rows.front().name);
      for (std::size_t w = 0; w < tokens.size(); ++w) {
        out.losses[(s * tokens.size() + w) * rows.size() + i] = e.window_losses[w];
      }
    }
  }
  return out;
}

double variance(const std::vector<double>& values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return squares / static_cast<double>(values.size() - 1);
}

/// P(|T| > |mean| / se).
double two_sided(double mean, double standard_error, double df) {
  if (mean == 0 || std::isnan(mean)) return 1;
  return 2 * t_cdf(-std::abs(mean) / standard_error, df);
}

}  // namespace

Equivalence equivalence(const Difference& d, double margin) {
  const double half = t_quantile(0.95, d.df) * d.standard_error;
  const auto above = [&](double x) { return t_cdf(-x / d.standard_error, d.df); };
  return {.low = d.mean - half,
          .high = d.mean + half,
          .p = std::max(above(margin + d.mean), above(margin - d.mean))};
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double least = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    least = std::max(least, std::min(1.0, static_cast<double>(p.size() - k) * p[order[k]]));
    adjusted[order[k]] = least;
  }
  return adjusted;
}

MeanSpread mean_spread(const std::vector<double>& values) {
  MeanSpread out;
  for (const double v : values) out.mean += v / static_cast<double>(values.size());
  if (values.size() > 1) out.deviation = std::sqrt(variance(values));
  return out;
}

Statistics::Statistics(const std::vector<SeedResults>& seeds)
    : seeds_(seeds), resamples_(window_losses(seeds), kResamples) {}

std::size_t Statistics::index(std::string_view row) const {
  return static_cast<std::size_t>(&required(seeds_.front(), row) - rows().data());
}

double Statistics::loss(std::string_view row) const { return resamples_.measured()[index(row)]; }

Difference Statistics::difference(std::string_view a, std::string_view b) const {
  return contrast({{index(a), 1}, {index(b), -1}});
}

/// With S seeds and K blocks of windows: the variance V_w over windows (all seeds, drawn windows)
/// and what drawing seeds adds to it, V_s. df = (V_s + V_w)^2 / (V_s^2/(S - 1) + V_w^2/(K - 1)).
Difference Statistics::contrast(const std::vector<Term>& terms) const {
  const auto value = [&](std::span<const double> losses) {
    double sum = 0;
    for (const Term& t : terms) sum += t.weight * losses[t.row];
    return sum;
  };
  const double S = static_cast<double>(resamples_.seeds()),
               K = static_cast<double>(resamples_.blocks());
  Difference d{.mean = value(resamples_.measured())};
  if (K < 2) {  // one block of windows says nothing about its own error
    const double infinity = std::numeric_limits<double>::infinity();
    return {
        .mean = d.mean, .standard_error = infinity, .df = 1, .low = -infinity, .high = infinity};
  }
  std::vector<double> drawn, all_seeds;
  for (std::int64_t r = 0; r < resamples_.count(); ++r) {
    drawn.push_back(value(resamples_.drawn(r)));
    all_seeds.push_back(value(resamples_.all_seeds(r)));
  }
  const double over_windows = variance(all_seeds);
  const double v_s = S > 1 ? std::max(0.0, variance(drawn) - over_windows) : 0;
  const double v_w = over_windows * K / (K - 1);  // a bootstrap's variance is (K - 1)/K too small
  const double total = v_s + v_w;
  d.standard_error = std::sqrt(total);
  d.df =
      total > 0 ? total * total / ((S > 1 ? v_s * v_s / (S - 1) : 0) + v_w * v_w / (K - 1)) : K - 1;
  const double half = t_quantile(0.975, d.df) * d.standard_error;
  d.low = d.mean - half;
  d.high = d.mean + half;
  d.p = two_sided(d.mean, d.standard_error, d.df);
  return d;
}

/// The round-to-nearest row that a recovery starts from: the better one, chosen by its mean over
/// seeds so that all seeds compare with the same method.
std::optional<std::string> Statistics::rtn_row(const RowResult& row, bool on_control) const {
  std::optional<std::string> best;
  for (const RowResult& r : rows()) {
    const bool rtn = r.method == "rtn" || r.method == "rtn-mse";
    if (!rtn || r.on_control != on_control || r.bits != row.bits ||
        r.granularity != row.granularity || r.grid != row.grid) {
      continue;
    }
    if (!best || loss(r.name) < loss(*best)) best = r.name;
  }
  return best;
}

std::optional<Recovery> Statistics::recovery(const RowResult& row, std::string_view reference,
                                             bool on_control) const {
  const std::optional<std::string> rtn = rtn_row(row, on_control);
  if (!rtn || !find_row(seeds_.front(), reference)) return std::nullopt;
  const Difference cost = difference(*rtn, reference);
  if (!(cost.low > 0)) return std::nullopt;
  const std::size_t from = index(*rtn), to = index(row.name), zero = index(reference);
  const double share = (loss(*rtn) - loss(row.name)) / cost.mean;
  std::vector<double> ratios;
  for (std::int64_t r = 0; r < resamples_.count(); ++r) {
    const std::span<const double> L = resamples_.drawn(r);
    ratios.push_back((L[from] - L[to]) / (L[from] - L[zero]));
  }
  std::ranges::sort(ratios);
  const auto percentile = [&](double p) {
    return ratios[static_cast<std::size_t>(p * static_cast<double>(ratios.size() - 1) + 0.5)];
  };
  // The ratio's error is, to first order, that of this contrast; so are its degrees of freedom.
  const Difference residual = contrast({{from, 1 - share}, {to, -1}, {zero, share}});
  const double wider = t_quantile(0.975, residual.df) / t_quantile(0.975, 1e6);
  return Recovery{.share = share,
                  .low = share - wider * (share - percentile(0.025)),
                  .high = share + wider * (percentile(0.975) - share)};
}

Recoveries Statistics::recoveries(const RowResult& row) const {
  Recoveries out;
  if (row.granularity.empty() || row.method == "rtn" || row.method == "rtn-mse") return out;
  if (!row.on_control) out.from_fp32 = recovery(row, "fp32", false);
  if (row.on_control || (row.trained && !row.distilled)) {
    out.from_control = recovery(row, "fp32-continue", true);
  }
  return out;
}

}  // namespace notch::experiments
