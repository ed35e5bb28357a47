#include "experiments/report/fronts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "autograd/base/error.h"
#include "experiments/report/looks.h"
#include "experiments/report/student.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

/// Where a row stands on the y axis; nothing: it is not shown.
struct Height {
  double mean = 0;
  double half = 0;      ///< of the error bar
  std::string words{};  ///< for those who point at its mark
};
using HeightOf = std::function<std::optional<Height>(const RowResult&)>;

/// A mark for every quantized row (and fp16) at its bits per weight, a series for every method.
void add_rows(Plot& plot, const Statistics& statistics, const HeightOf& height_of) {
  const std::vector<RowResult>& rows = statistics.rows();
  std::set<std::string> granularities;
  for (const RowResult& r : rows) {
    if (!r.granularity.empty()) granularities.insert(r.granularity);
  }
  struct Place {
    double sum = 0;
    int rows = 0;
  };
  std::map<std::string, Place> places;
  std::map<std::pair<std::string, std::string>, std::size_t> series;  // of a name and granularity
  std::map<std::string, std::vector<std::string>> labels_of;          // a method's
  for (const RowResult& r : rows) {
    const double bits = statistics.bits_per_weight(r.name);
    if (r.granularity.empty() && r.bits != 16) continue;
    const std::string name = label(r);
    if (r.bits != 16) {
      Place& place = places[str("int", r.bits, granularities.size() > 1 ? " " : "",
                                granularities.size() > 1 ? r.granularity : std::string{})];
      place.sum += bits;
      ++place.rows;
    }
    const auto [at, is_new] = series.try_emplace({name, r.granularity}, plot.series.size());
    if (is_new) {
      std::vector<std::string>& labels = labels_of[r.method];
      const auto known = std::ranges::find(labels, shown_method(r));
      const Look look = look_of(r.method, static_cast<std::size_t>(known - labels.begin()));
      if (known == labels.end()) labels.push_back(shown_method(r));
      // One entry of the legend for all that is made by a method; points say the rest.
      plot.series.push_back({.name = shown_method(r),
                             .color = std::string(look.color),
                             .mark = look.mark,
                             .hollow = r.on_control,
                             .line = !r.on_control});
    }
    const std::optional<Height> height = height_of(r);
    if (!height) continue;
    plot.series[at->second].points.push_back(
        {.x = bits,
         .y = height->mean,
         .error = height->half,
         .note = str(name, " int", r.bits, ' ', r.granularity, ": ", height->words, " at ",
                     printed("%.2f", bits), " bits per weight"),
         .method = name,
         .bits = str(r.bits)});
  }
  for (PlotSeries& s : plot.series) std::ranges::stable_sort(s.points, {}, &PlotPoint::x);
  for (const auto& [name, place] : places) plot.places.push_back({name, place.sum / place.rows});
}

/// Levels for fp32 and its controls: `value` of a row, printed behind its name.
void add_levels(Plot& plot, const SeedResults& seed, const char* format,
                const std::function<double(const RowResult&)>& value,
                const std::function<double(const RowResult&)>& height) {
  const RowResult& base = row_of(seed, kBaseRow);
  const auto add = [&](const RowResult& row, std::string_view shown, std::string_view color) {
    plot.levels.push_back({.name = str(shown, ' ', printed(format, value(row))),
                           .color = std::string(color),
                           .y = height(row)});
  };
  add(base, kBaseRow, "#222222");
  for (const RowResult* control : controls_of(seed)) {
    add(*control, control_title(control->name), kControlColor);
  }
}

/// What both captions say of the marks and where they stand.
std::string mark_words(const Statistics& statistics) {
  return str(statistics.seeds().size() > 1 ? " Bits per weight are means over the seeds." : "",
             std::ranges::any_of(statistics.rows(), &RowResult::on_control)
                 ? " Hollow marks are made from a control (fp32 with the extra steps of QAT)."
                 : "");
}

}  // namespace

std::optional<MeanAccuracy> mean_accuracy(const std::vector<SeedResults>& seeds,
                                          const RowResult& row, std::size_t questions) {
  std::vector<double> shares;
  for (const SeedResults& s : seeds) {
    const RowResult* r = find_row(s, row.name);
    if (!r || !r->accuracy) return std::nullopt;
    check(*r->accuracy >= 0 && *r->accuracy <= 1, row.name,
          "its accuracy is no share: ", *r->accuracy);
    shares.push_back(*r->accuracy);
  }
  if (shares.empty()) return std::nullopt;
  constexpr double kNormal = 1.959963984540054;  // 97.5 % of a normal distribution are below it
  const MeanSpread m = mean_spread(shares);
  const auto n = static_cast<double>(questions);
  const double p = (n * m.mean + 2) / (n + 4);
  double square = kNormal * kNormal * p * (1 - p) / (n + 4);
  if (m.deviation >= 0) {
    const auto count = static_cast<double>(shares.size());
    const double t = t_quantile(0.975, count - 1);
    square += t * t * m.deviation * m.deviation / count;
  }
  return MeanAccuracy{100 * m.mean, 100 * std::sqrt(square)};
}

std::string MeanAccuracy::words() const {
  return printed("%.1f", percent) + " % right [" + printed("%.1f", std::max(percent - half, 0.0)) +
         ", " + printed("%.1f", std::min(percent + half, 100.0)) + "]";
}

PlotSeries frontier(const std::vector<PlotSeries>& series, Best best) {
  const auto better = [&](double a, double b) { return best == Best::lowest ? a < b : a > b; };
  std::vector<PlotPoint> points;
  for (const PlotSeries& s : series) {
    std::ranges::copy_if(s.points, std::back_inserter(points), [](const PlotPoint& p) {
      return std::isfinite(p.x) && std::isfinite(p.y);
    });
  }
  std::ranges::stable_sort(points, [&](const PlotPoint& a, const PlotPoint& b) {
    return a.x != b.x ? a.x < b.x : better(a.y, b.y);
  });
  PlotSeries out{.name = "frontier", .color = "#6b6b6b", .line = true};
  for (const PlotPoint& p : points) {
    if (out.points.empty()) {
      out.points.push_back({.x = p.x, .y = p.y});
    } else if (const double reached = out.points.back().y; better(p.y, reached)) {
      out.points.push_back({.x = p.x, .y = reached});
      out.points.push_back({.x = p.x, .y = p.y});
    }
  }
  return out;
}

Figure loss_figure(const Statistics& statistics) {
  Figure out{.plot = {.title = "Loss against size",
                      .x_label = "bits per weight, whole model",
                      .y_label = "loss − fp32 loss, nats",
                      .may_be_log = true}};
  Plot& plot = out.plot;
  add_rows(plot, statistics, [&](const RowResult& r) -> std::optional<Height> {
    const Difference change = statistics.difference(r.name, kBaseRow);
    const double half = change.high - change.mean;
    if (!std::isfinite(change.mean)) {
      out.caption += str(r.name, " is not shown: its loss is not finite. ");
      return std::nullopt;
    }
    return Height{
        .mean = change.mean,
        .half = std::isfinite(half) ? half : 0,
        .words = str(printed("%+.4f", change.mean), " ± ", printed("%.4f", half), " nats")};
  });
  plot.series.insert(plot.series.begin(), frontier(plot.series, Best::lowest));
  add_levels(
      plot, statistics.seeds().front(), "%.4f",
      [&](const RowResult& r) { return statistics.loss(r.name); },
      [&](const RowResult& r) {
        return r.name == kBaseRow ? 0.0 : statistics.difference(r.name, kBaseRow).mean;
      });
  out.caption +=
      "Lower is better. Bars: 95 % interval of the paired change. Left of and below the frontier "
      "there is no row: none is both smaller and better than those on it." +
      mark_words(statistics);
  return out;
}

Figure accuracy_figure(const Statistics& statistics, std::size_t questions) {
  Figure out{.plot = {.title = "Task accuracy against size",
                      .x_label = "bits per weight, whole model",
                      .y_label = "right answers, %",
                      .y_least = 0,
                      .y_most = 100}};
  Plot& plot = out.plot;
  const std::vector<SeedResults>& seeds = statistics.seeds();
  add_rows(plot, statistics, [&](const RowResult& r) -> std::optional<Height> {
    const auto right = mean_accuracy(seeds, r, questions);
    if (!right) return std::nullopt;
    return Height{.mean = right->percent, .half = right->half, .words = right->words()};
  });
  std::erase_if(plot.series, [](const PlotSeries& s) { return s.points.empty(); });
  if (plot.series.empty()) return out;
  plot.series.insert(plot.series.begin(), frontier(plot.series, Best::highest));
  const auto percent = [&](const RowResult& r) {
    const auto right = mean_accuracy(seeds, r, questions);
    return right ? right->percent : std::nan("");
  };
  add_levels(plot, seeds.front(), "%.1f %%", percent, percent);
  out.caption =
      str("Higher is better. Bars: 95 % interval, from the ", questions, " questions",
          seeds.size() > 1 ? " and the seeds" : "",
          ". All rows answer the same questions: two differ by more than chance sooner than their "
          "bars suggest.",
          mark_words(statistics));
  return out;
}

}  // namespace notch::experiments
