#include "experiments/report/figures.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/base/error.h"
#include "experiments/report/looks.h"
#include "experiments/run/metrics.h"
#include "experiments/run/run_dir.h"

namespace notch::experiments {
namespace {

constexpr std::size_t kMaxPoints = 300, kMaxRaw = 1000;  // of a curve
constexpr std::string_view kBaseColor = kGrey;

struct Curve {
  std::vector<PlotPoint> training{};
  std::vector<PlotPoint> validation{};
  std::vector<PlotPoint> rate{};
  std::vector<PlotPoint> norm{};
};

/// By run ("seed-1337/fp32").
std::map<std::string, Curve> read_curves(std::string_view metrics) {
  std::map<std::string, Curve> curves;
  read_metrics(metrics, [&](const MetricsLine& line) {
    Curve& curve = curves[line.run];
    const auto add = [&](const char* key, std::vector<PlotPoint>& points) {
      const Json* value = line.fields.find(key);
      if (!value || !value->is_number()) return;
      points.push_back({.x = static_cast<double>(line.step), .y = value->as_number(key)});
    };
    add("loss", curve.training);
    add("val_loss", curve.validation);
    add("lr", curve.rate);
    add("grad_norm", curve.norm);
  });
  return curves;
}

/// At most so many points, each the mean of as many neighbours; the last may have fewer.
std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points,
                               std::size_t most = kMaxPoints) {
  const std::size_t bin = (points.size() + most - 1) / most;
  std::vector<PlotPoint> out;
  for (std::size_t first = 0; first < points.size(); first += bin) {
    const std::size_t last = std::min(first + bin, points.size());
    PlotPoint mean;
    for (std::size_t i = first; i < last; ++i) {
      mean.x += points[i].x / static_cast<double>(last - first);
      mean.y += points[i].y / static_cast<double>(last - first);
    }
    out.push_back(mean);
  }
  return out;
}

/// Every point the mean of a twentieth of the curve around it, of fewer at its ends.
std::vector<PlotPoint> smoothed(const std::vector<PlotPoint>& points) {
  const std::size_t n = points.size(), half = n / 40;
  std::vector<double> sums{0};
  for (const PlotPoint& p : points) sums.push_back(sums.back() + p.y);
  std::vector<PlotPoint> out = points;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t reach = std::min({half, i, n - 1 - i});
    out[i].y = (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1);
  }
  return thinned(out);
}

std::vector<PlotPoint> minus(const std::vector<PlotPoint>& points,
                             const std::vector<PlotPoint>& reference) {
  std::map<double, double> at;
  for (const PlotPoint& p : reference) at[p.x] = p.y;
  std::vector<PlotPoint> out;
  for (const PlotPoint& p : points) {
    if (const auto r = at.find(p.x); r != at.end()) out.push_back({.x = p.x, .y = p.y - r->second});
  }
  return out;
}

Figure fp32_figure(const std::map<std::string, Curve>& curves,
                   const std::vector<SeedResults>& seeds) {
  Figure out{.plot = {.title = "Training of fp32",
                      .x_label = "step",
                      .y_label = "loss, nats per token",
                      .height = 300},
             .caption =
                 "Training loss of single batches for the first seed, and smoothed over a "
                 "twentieth of the training for each; validation loss for each."};
  for (const SeedResults& s : seeds) {
    const auto found = curves.find(training_name(s.seed, kBaseRow));
    if (found == curves.end()) continue;
    const Curve& curve = found->second;
    const auto add = [&](const char* name, std::string_view color, Mark mark,
                         std::vector<PlotPoint> points) {
      if (points.empty()) return;
      out.plot.series.push_back({.name = name,
                                 .color = std::string(color),
                                 .mark = mark,
                                 .line = true,
                                 .points = std::move(points)});
    };
    if (&s == &seeds.front()) {
      add("training, one batch", "#b5cfe2", Mark::none, thinned(curve.training, kMaxRaw));
    }
    add("training, smoothed", kBlue, Mark::none, smoothed(curve.training));
    add("validation", kVermilion, Mark::circle, thinned(curve.validation));
  }
  // Validation goes over the noisier lines of all seeds.
  std::ranges::stable_sort(out.plot.series, {}, &PlotSeries::mark);
  return out;
}

/// Of the first seed: fp32's and, from where that ends, those of the phases after the fork.
Figure rate_figure(const std::map<std::string, Curve>& curves, const SeedResults& seed) {
  Figure out{.plot = {.title = str("Learning rate, seed ", seed.seed),
                      .x_label = "step, of fp32 or after the fork",
                      .y_label = "learning rate",
                      .height = 220}};
  std::set<std::vector<std::pair<double, double>>> drawn;
  for (const RowResult& row : seed.rows) {
    const auto found = curves.find(training_name(seed.seed, row.name));
    if (found == curves.end() || found->second.rate.empty()) continue;
    std::vector<std::pair<double, double>> values;
    for (const PlotPoint& p : found->second.rate) values.emplace_back(p.x, p.y);
    if (!drawn.insert(values).second) continue;  // most rows share the control's
    out.plot.series.push_back(
        {.name = row.name == kBaseRow ? "fp32" : "after the fork",
         .color = std::string(row.name == kBaseRow ? kBaseColor : kControlColor),
         .line = true,
         .points = thinned(found->second.rate)});
  }
  return out;
}

/// The first seed's trained rows that follow fp32, and their controls; nothing without a trained row.
template <class F>
void add_after_fork(Plot& plot, const std::map<std::string, Curve>& curves, const SeedResults& seed,
                    const F& points_of) {
  bool trained = false;
  for (const RowResult& row : seed.rows) {
    const bool is_control = row.granularity.empty() && row.name.starts_with(kControlRow);
    const bool is_trained = row.trained && !row.granularity.empty() && row.control != kBaseRow;
    const auto found = curves.find(training_name(seed.seed, row.name));
    if ((!is_control && !is_trained) || found == curves.end()) continue;
    std::vector<PlotPoint> points = points_of(found->second);
    if (points.empty()) continue;
    trained = trained || is_trained;
    plot.series.push_back(
        {.name = is_control ? control_title(row.name) : shown_method(row),
         .color = std::string(is_control ? kControlColor : look_of(row.method).color),
         .line = true,
         .end_label = is_control ? control_title(row.name) : row.name,
         .points = std::move(points)});
  }
  if (!trained) plot.series.clear();
}

Figure validation_figure(const std::map<std::string, Curve>& curves, const SeedResults& seed) {
  Figure out{.plot = {.title = str("Validation after the fork, seed ", seed.seed),
                      .x_label = "step after the fork",
                      .y_label = "validation loss, nats per token",
                      .height = 300},
             .caption = "What is between a row and the control is the quantization gap."};
  add_after_fork(out.plot, curves, seed, [](const Curve& c) { return thinned(c.validation); });
  return out;
}

/// Of fp32 or of the phases after the fork, of the first seed.
Figure norm_figure(const std::map<std::string, Curve>& curves, const SeedResults& seed,
                   bool after_fork) {
  Figure out{.plot = {.title = str("Gradient norm ", after_fork ? "after the fork" : "of fp32",
                                   ", seed ", seed.seed),
                      .x_label = after_fork ? "step after the fork" : "step",
                      .y_label = "gradient norm",
                      .height = 220},
             .caption =
                 "Of all gradients together, before clipping; smoothed over a twentieth of the "
                 "training."};
  if (after_fork) {
    add_after_fork(out.plot, curves, seed, [](const Curve& c) { return smoothed(c.norm); });
  } else if (const auto found = curves.find(training_name(seed.seed, kBaseRow));
             found != curves.end() && !found->second.norm.empty()) {
    out.plot.series.push_back({.name = "fp32",
                               .color = std::string(kBaseColor),
                               .line = true,
                               .points = smoothed(found->second.norm)});
  }
  return out;
}

Figure fork_figure(const std::map<std::string, Curve>& curves, const SeedResults& seed) {
  Figure out{.plot = {.title = str("Training after the fork, seed ", seed.seed),
                      .x_label = "step after the fork",
                      .y_label = "training loss, nats per token",
                      .height = 300}};
  const auto curve_of = [&](std::string_view row) {
    const auto found = curves.find(training_name(seed.seed, row));
    return found == curves.end() ? std::vector<PlotPoint>{} : found->second.training;
  };
  const bool has_control = std::ranges::any_of(
      controls_of(seed), [&](const RowResult* c) { return !curve_of(c->name).empty(); });
  if (has_control) {
    out.plot.y_label = "training loss − control's";
    out.plot.may_be_log = true;
    out.plot.levels.push_back({.name = "control", .color = std::string(kControlColor), .y = 0});
    out.caption =
        "All phases read the same batches in the same order, so the difference at a step "
        "is the cost of training through the quantizer. ";
  }
  bool distilled = false;
  for (const RowResult& row : seed.rows) {
    // From scratch a row's steps are not those after the fork.
    if (!row.trained || row.granularity.empty() || row.control == kBaseRow) continue;
    distilled = distilled || row.distilled;
    const std::vector<PlotPoint> points =
        has_control ? minus(curve_of(row.name), curve_of(row.control)) : curve_of(row.name);
    if (row.distilled || points.empty()) continue;
    out.plot.series.push_back({.name = shown_method(row),
                               .color = std::string(look_of(row.method).color),
                               .line = true,
                               .end_label = row.name,
                               .points = smoothed(points)});
  }
  if (distilled) out.caption += "Distilled phases are left out: their loss is another quantity.";
  return out;
}

}  // namespace

std::vector<Figure> curve_figures(std::string_view metrics, const std::vector<SeedResults>& seeds) {
  const std::map<std::string, Curve> curves = read_curves(metrics);
  std::vector<Figure> out;
  const SeedResults& first = first_seed(seeds, "curves");
  for (Figure& f :
       std::vector{fp32_figure(curves, seeds), norm_figure(curves, first, false),
                   rate_figure(curves, first), fork_figure(curves, first),
                   validation_figure(curves, first), norm_figure(curves, first, true)}) {
    if (!f.plot.series.empty()) out.push_back(std::move(f));
  }
  return out;
}

}  // namespace notch::experiments
