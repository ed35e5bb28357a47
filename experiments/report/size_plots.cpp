#include "experiments/report/size_plots.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "experiments/report/fronts.h"
#include "experiments/report/student.h"
#include "experiments/show/palette.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

using quant::Family;

struct Shape {
  std::string_view name{};
  Mark mark{};
};

Shape shape_of(const SizePoint& p) {
  if (!p.best) {
    return p.row->name == kBaseRow ? Shape{"fp32", Mark::square} : Shape{"control", Mark::star};
  }
  switch (p.best->family) {
    case Family::baseline:
      return {"round to nearest", Mark::circle};
    case Family::post_training:
      return {"post-training", Mark::diamond};
    case Family::trained:
      break;
  }
  return {"QAT", Mark::triangle_up};
}

/// Half of the 95 % interval that the seeds give a mean; 0 with one seed.
double seeds_half(const std::vector<double>& values) {
  const MeanSpread m = mean_spread(values);
  if (m.deviation < 0) return 0;
  const auto n = static_cast<double>(values.size());
  return t_quantile(0.975, n - 1) * m.deviation / std::sqrt(n);
}

/// Where a point stands; not finite: it is not shown.
struct Place {
  double x = 0, y = 0;
  double half = 0;
  std::string words{};
};

/// A series for every shape of every size, joined where `lines` says so; the legend shows shapes in
/// grey and the right margin names sizes.
template <class PlaceOf>
void add_points(Plot& plot, const std::vector<SizeSeen>& sizes,
                const std::vector<SizePoint>& points, bool lines, const PlaceOf& place_of) {
  for (const SizePoint& p : points) {
    const Shape shape = shape_of(p);
    const auto same = [&](const PlotSeries& s) { return s.name == shape.name; };
    if (std::ranges::any_of(plot.series, same)) continue;
    plot.series.push_back(
        {.name = std::string(shape.name), .color = std::string(kGrey), .mark = shape.mark});
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::string color(series_color(i));
    std::vector<PlotSeries> own;
    for (const SizePoint& p : points) {
      if (p.size != &sizes[i]) continue;
      const Place place = place_of(p);
      if (!std::isfinite(place.x) || !std::isfinite(place.y)) continue;
      const Shape shape = shape_of(p);
      const auto same = [&](const PlotSeries& s) { return s.name == shape.name; };
      auto at = std::ranges::find_if(own, same);
      if (at == own.end()) {
        own.push_back(
            {.name = std::string(shape.name), .color = color, .mark = shape.mark, .line = lines});
        at = own.end() - 1;
      }
      at->points.push_back({.x = place.x,
                            .y = place.y,
                            .error = std::isfinite(place.half) ? place.half : 0,
                            .note = str(p.size->title, ", ", p.width, ", ",
                                        p.best ? label(*p.row) : p.row->name, ": ", place.words),
                            .model = std::string(p.size->title),
                            .method = label(*p.row),
                            .bits = str(p.row->bits)});
    }
    for (PlotSeries& s : own) {
      std::ranges::stable_sort(s.points, {}, &PlotPoint::x);
      plot.series.push_back(std::move(s));
    }
  }
}

/// A staircase through the marks of each size, named in the margin.
void add_fronts(Plot& plot, const std::vector<SizeSeen>& sizes, Best best) {
  std::vector<PlotSeries> fronts;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::vector<PlotSeries> own;
    for (const PlotSeries& s : plot.series) {
      const bool of_size = !s.points.empty() && s.points.front().model == sizes[i].title;
      if (of_size) own.push_back(s);
    }
    if (own.empty()) continue;
    PlotSeries front = frontier(own, best);
    front.name.clear();
    front.color = series_color(i);
    front.end_label = sizes[i].title;
    fronts.push_back(std::move(front));
  }
  plot.series.insert(plot.series.begin(), fronts.begin(), fronts.end());
}

std::string in_bytes(const SizePoint& p) { return str(" in ", bytes_text(p.bytes())); }

Figure front_figure(const std::vector<SizeSeen>& sizes, const std::vector<SizePoint>& points) {
  Figure out{.plot = {.title = "Loss against bytes",
                      .x_label = "size of the file, kB, logarithmic",
                      .y_label = "loss, nats per token",
                      .x_is_log = true}};
  bool several = false;
  add_points(out.plot, sizes, points, false, [&](const SizePoint& p) {
    std::vector<double> losses;
    for (const SeedResults& s : p.size->statistics->seeds()) {
      losses.push_back(find_row(s, p.row->name)->eval.loss);
    }
    several = several || losses.size() > 1;
    const double loss = p.size->statistics->loss(p.row->name), half = seeds_half(losses);
    return Place{p.bytes() / 1000, loss, half,
                 str("loss ", printed("%.4f", loss),
                     losses.size() > 1 ? " ± " + printed("%.4f", half) : "", in_bytes(p))};
  });
  add_fronts(out.plot, sizes, Best::lowest);
  out.caption = str("Lower is better. A line is what one size reaches in at most so many bytes. ",
                    several ? "Bars: 95 % interval over the seeds. " : "One seed each: no bars. ",
                    "Of every family the best row of a width is drawn; the table has all.");
  return out;
}

Figure cost_figure(const std::vector<SizeSeen>& sizes, const std::vector<SizePoint>& points) {
  Figure out{.plot = {.title = "What rounding costs",
                      .x_label = "bits per weight, whole model",
                      .y_label = "loss − own reference's",
                      .may_be_log = true}};
  std::vector<SizePoint> rounded;
  for (const SizePoint& p : points) {
    if (p.best) rounded.push_back(p);
  }
  add_points(out.plot, sizes, rounded, true, [](const SizePoint& p) {
    const Difference& cost = p.best->cost;
    const double bits = p.size->statistics->bits_per_weight(p.row->name),
                 half = cost.high - cost.mean;
    return Place{bits, cost.mean, half,
                 str(printed("%+.4f", cost.mean), " ± ", printed("%.4f", half), " nats against ",
                     p.size->statistics->reference_of(*p.row), " at ", printed("%.2f", bits),
                     " bits per weight")};
  });
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    // The longest line of each size tells its colour.
    PlotSeries* longest = nullptr;
    for (PlotSeries& s : out.plot.series) {
      if (s.points.empty() || s.points.front().model != sizes[i].title) continue;
      if (!longest || s.points.size() > longest->points.size()) longest = &s;
    }
    if (longest) longest->end_label = sizes[i].title;
  }
  out.plot.levels.push_back({.name = "fp32 or control", .color = "#222222", .y = 0});
  out.caption =
      "Lower is better. Every row against the same model in full precision: fp32, or its run's own "
      "control where it saw more text. Bars: 95 % interval of the paired difference.";
  return out;
}

Figure accuracy_by_size(const std::vector<SizeSeen>& sizes, const std::vector<SizePoint>& points) {
  Figure out{.plot = {.title = "Task accuracy against bytes",
                      .x_label = "size of the file, kB, logarithmic",
                      .y_label = "right answers, %",
                      .x_is_log = true,
                      .y_least = 0,
                      .y_most = 100}};
  add_points(out.plot, sizes, points, false, [](const SizePoint& p) {
    const auto right = mean_accuracy(p.size->statistics->seeds(), *p.row, p.size->questions);
    if (!right) return Place{.y = std::nan("")};
    return Place{p.bytes() / 1000, right->percent, right->half, right->words() + in_bytes(p)};
  });
  add_fronts(out.plot, sizes, Best::highest);
  out.caption =
      "Higher is better. Bars: 95 % interval, from the number of questions and the seeds.";
  return out;
}

}  // namespace

std::vector<SizePoint> size_points(const std::vector<SizeSeen>& sizes) {
  std::vector<SizePoint> out;
  for (const SizeSeen& size : sizes) {
    check(size.statistics && size.widths, "sizes", size.title, " has no statistics");
    for (const WidthSummary& w : *size.widths) require_whole(w);
    const SeedResults& seed = size.statistics->seeds().front();
    for (const std::string_view name : {kBaseRow, kControlRow}) {
      const RowResult* row = find_row(seed, name);
      if (row)
        out.push_back({.size = &size, .row = row, .width = name == kBaseRow ? "fp32" : "control"});
    }
    for (const WidthSummary& w : *size.widths) {
      for (const FamilyBest& best : w.families) {
        out.push_back({.size = &size, .row = best.row, .best = &best, .width = w.title});
      }
    }
  }
  return out;
}

std::vector<SizePoint> all_points(const std::vector<SizeSeen>& sizes) {
  std::vector<SizePoint> out = size_points(sizes);
  for (const SizeSeen& size : sizes) {
    for (const RowResult& row : size.statistics->rows()) {
      const bool has_place = row.name == kBaseRow || row.name == kControlRow;
      if (!has_place) out.push_back({.size = &size, .row = &row, .width = str(row.bits, " bits")});
    }
  }
  return out;
}

std::vector<SizePoint> size_front(const std::vector<SizePoint>& points) {
  const auto loss = [](const SizePoint& p) { return p.size->statistics->loss(p.row->name); };
  std::vector<SizePoint> sorted;
  for (const SizePoint& p : points) {
    check(p.size && p.size->statistics && p.row, "sizes", "a point of no row");
    if (std::isfinite(loss(p))) sorted.push_back(p);
  }
  std::ranges::stable_sort(sorted, [&](const SizePoint& a, const SizePoint& b) {
    const double x = a.bytes(), y = b.bytes();
    return x != y ? x < y : loss(a) < loss(b);
  });
  std::vector<SizePoint> out;
  for (const SizePoint& p : sorted) {
    if (out.empty() || loss(p) < loss(out.back())) out.push_back(p);
  }
  return out;
}

std::vector<Figure> size_figures(const std::vector<SizeSeen>& sizes) {
  const std::vector<SizePoint> points = size_points(sizes);
  std::vector<Figure> out{front_figure(sizes, points), cost_figure(sizes, points)};
  const auto has_task = [](const SizePoint& p) { return p.row->accuracy.has_value(); };
  if (std::ranges::any_of(points, has_task)) out.push_back(accuracy_by_size(sizes, points));
  return out;
}

}  // namespace notch::experiments
