#include "experiments/report/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/base/error.h"
#include "experiments/report/student.h"
#include "experiments/show/table.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

constexpr double kAlpha = 0.05;  // of the intervals that are shown

double variance(const std::vector<double>& values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return squares / static_cast<double>(values.size() - 1);
}

/// Whether it is what the other rows of its kind are compared with.
bool rounds_to_nearest(const RowResult& row) {
  const quant::Method* method = quant::find_method(row.method);
  return method && method->family == quant::Family::baseline;
}

}  // namespace

double Difference::standard_error() const { return std::sqrt(seeds.variance + windows.variance); }

double Difference::half_width(double alpha) const {
  double squares = 0;
  for (const ErrorPart& part : {seeds, windows}) {
    if (part.variance == 0) continue;
    const double t = t_quantile(alpha / 2, part.df);
    squares += t * t * part.variance;
  }
  return std::sqrt(squares);
}

void Difference::enclose() {
  const double half = half_width(kAlpha);
  low = mean - half;
  high = mean + half;
}

double Difference::alpha_of(double distance) const {
  const double error = standard_error(), away = std::abs(distance);
  if (away == 0 || !std::isfinite(away) || !std::isfinite(error)) return 1;
  if (error == 0) return 0;
  // Between what the more and the less certain part alone would give.
  const double s = seeds.variance > 0 ? seeds.df : windows.df;
  const double w = windows.variance > 0 ? windows.df : seeds.df;
  constexpr double kLeast = 1e-300;
  double least = std::max(kLeast, 2 * t_cdf(-away / error, std::max(s, w)));
  double most = std::max(kLeast, 2 * t_cdf(-away / error, std::min(s, w)));
  while (most > least * (1 + 1e-9)) {
    const double middle = std::sqrt(least) * std::sqrt(most);
    if (middle <= least || middle >= most) break;
    (half_width(middle) > away ? least : most) = middle;
  }
  return most;
}

Equivalence equivalence(const Difference& d, double margin) {
  check(margin > 0 && std::isfinite(margin), "equivalence", "within ", margin, " nats");
  const double half = d.half_width(0.1);
  const auto above = [&](double x) { return x < 0 ? 1 - d.alpha_of(x) / 2 : d.alpha_of(x) / 2; };
  return {.low = d.mean - half,
          .high = d.mean + half,
          .p = std::max(above(margin + d.mean), above(margin - d.mean))};
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return p[i]; });
  check(std::ranges::all_of(p, [](double x) { return x >= 0 && x <= 1; }), "holm",
        "a p-value is not between 0 and 1");
  std::vector<double> adjusted(p.size());
  double least = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    least = std::max(least, std::min(1.0, static_cast<double>(p.size() - k) * p[order[k]]));
    adjusted[order[k]] = least;
  }
  return adjusted;
}

MeanSpread mean_spread(const std::vector<double>& values) {
  check(!values.empty(), "mean", "of no values");
  MeanSpread out;
  for (const double v : values) out.mean += v / static_cast<double>(values.size());
  if (values.size() > 1) out.deviation = std::sqrt(variance(values));
  return out;
}

Statistics::Statistics(const std::vector<SeedResults>& seeds) : seeds_(seeds) {
  first_seed(seeds, "statistics");
  const std::vector<std::int64_t>& tokens = rows().front().eval.window_tokens;
  tokens_.assign(tokens.begin(), tokens.end());
  losses_.resize(seeds.size() * tokens.size() * rows().size());
  measured_.assign(rows().size(), 0);
  const double scored = std::accumulate(tokens_.begin(), tokens_.end(), 0.0);
  check(scored > 0 && std::ranges::all_of(tokens, [](std::int64_t n) { return n >= 0; }),
        "statistics", rows().front().name, " was scored on no tokens");
  for (std::size_t s = 0; s < seeds.size(); ++s) {
    for (std::size_t i = 0; i < rows().size(); ++i) {
      const Evaluation& e = row_of(seeds[s], rows()[i].name).eval;
      check(e.window_tokens == tokens, rows()[i].name, "scored on other windows than ",
            rows().front().name);
      check(e.window_losses.size() == tokens.size(), rows()[i].name, "has the losses of ",
            e.window_losses.size(), " windows of ", tokens.size());
      for (std::size_t w = 0; w < tokens.size(); ++w) {
        losses_[(s * tokens.size() + w) * rows().size() + i] = e.window_losses[w];
        measured_[i] += e.window_losses[w] / scored / static_cast<double>(seeds.size());
      }
    }
  }
}

std::size_t Statistics::index(std::string_view row) const {
  return static_cast<std::size_t>(&row_of(seeds_.front(), row) - rows().data());
}

double Statistics::loss(std::string_view row) const { return measured_[index(row)]; }

template <class Get>
double Statistics::mean(std::string_view row, const Get& get) const {
  double sum = 0;
  for (const SeedResults& s : seeds_) sum += get(row_of(s, row));
  return sum / static_cast<double>(seeds_.size());
}

double Statistics::file_bytes(std::string_view row) const {
  return mean(row, [](const RowResult& r) { return static_cast<double>(r.file_bytes); });
}

std::string Statistics::other_bytes(std::string_view row, std::string_view than) const {
  const double bytes = file_bytes(row), more = bytes - file_bytes(than);
  if (!(std::abs(more) > kSameBytes * file_bytes(than))) return "";
  return str(" (", printed("%+.0f", 100 * more / (bytes - more)), " % bytes)");
}

double Statistics::bits_per_weight(std::string_view row) const {
  double sum = 0;
  for (const SeedResults& s : seeds_) {
    const quant::SizeReport& own = row_of(s, row).size;
    const RowResult* base = find_row(s, kBaseRow);
    const std::int64_t weights = base && base->size.weights > 0 ? base->size.weights : own.weights;
    sum += 8 * static_cast<double>(own.bytes()) / static_cast<double>(weights);
  }
  return sum / static_cast<double>(seeds_.size());
}

Difference Statistics::difference(std::string_view a, std::string_view b) const {
  return contrast({{index(a), 1}, {index(b), -1}});
}

Difference Statistics::cost_difference(const RowResult& a, const RowResult& b) const {
  return contrast({{index(a.name), 1},
                   {index(reference_of(a)), -1},
                   {index(b.name), -1},
                   {index(reference_of(b)), 1}});
}

Difference Statistics::contrast(const std::vector<Term>& terms) const {
  const std::size_t S = seeds_.size(), W = tokens_.size(), R = rows().size();
  const double all_tokens = std::accumulate(tokens_.begin(), tokens_.end(), 0.0);
  std::vector<double> of_window(W, 0), of_seed(S, 0);
  for (std::size_t s = 0; s < S; ++s) {
    for (std::size_t w = 0; w < W; ++w) {
      double sum = 0;
      for (const Term& t : terms) sum += t.weight * losses_[(s * W + w) * R + t.row];
      of_window[w] += sum / static_cast<double>(S);
      of_seed[s] += sum / all_tokens;
    }
  }
  Difference d{.windows = window_error(of_window, tokens_)};
  for (const double mean : of_seed) d.mean += mean / static_cast<double>(S);
  if (S > 1) {
    d.seeds = {.variance = variance(of_seed) / static_cast<double>(S),
               .df = static_cast<double>(S - 1)};
  }
  d.enclose();
  return d;
}

/// The round-to-nearest row that a recovery starts from: the better one, chosen by its mean over
/// seeds so that all seeds compare with the same method.
std::optional<std::string> Statistics::rtn_row(const RowResult& row,
                                               std::string_view reference) const {
  std::optional<std::string> best;
  for (const RowResult& r : rows()) {
    if (!rounds_to_nearest(r) || r.trained || r.bits != row.bits ||
        r.granularity != row.granularity || r.grid != row.grid ||
        r.on_control != (reference != kBaseRow) || reference_of(r) != reference) {
      continue;
    }
    if (!best || loss(r.name) < loss(*best)) best = r.name;
  }
  return best;
}

std::optional<Recovery> Statistics::recovery(const RowResult& row,
                                             std::string_view reference) const {
  const std::optional<std::string> rtn = rtn_row(row, reference);
  if (!rtn || !find_row(seeds_.front(), reference)) return std::nullopt;
  const Difference cost = difference(*rtn, reference);
  if (!(cost.low > 0)) return std::nullopt;
  // All shares r for which taken - r cost is not resolved from zero: an interval, as cost is.
  const Difference taken = difference(*rtn, row.name), left = difference(row.name, reference);
  const auto square = [](double x) { return x * x; };
  const double of_cost = square(cost.half_width(kAlpha)),
               of_taken = square(taken.half_width(kAlpha)),
               of_left = square(left.half_width(kAlpha));
  const double a = square(cost.mean) - of_cost, c = square(taken.mean) - of_taken;
  const double b = cost.mean * taken.mean - (of_cost + of_taken - of_left) / 2;
  const double half = std::sqrt(std::max(0.0, b * b - a * c)) / a;
  return Recovery{
      .rtn = *rtn, .share = taken.mean / cost.mean, .low = b / a - half, .high = b / a + half};
}

std::string Statistics::reference_of(const RowResult& row) const {
  return row.control.empty() || !find_row(seeds_.front(), row.control) ? std::string(kBaseRow)
                                                                       : row.control;
}

Recoveries Statistics::recoveries(const RowResult& row) const {
  Recoveries out;
  if (row.granularity.empty() || rounds_to_nearest(row)) return out;
  const std::string reference = reference_of(row);
  const bool saw_more = (row.aims_at_data || row.on_control) && row.control != kBaseRow;
  if (reference != kBaseRow) {
    out.from_control = recovery(row, reference);
  } else if (!saw_more) {
    out.from_fp32 = recovery(row, reference);
  }
  return out;
}

}  // namespace notch::experiments
