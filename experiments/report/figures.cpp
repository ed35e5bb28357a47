#include "experiments/report/figures.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "experiments/report/statistics.h"
#include "experiments/show/table.h"
#include "quant/methods/methods.h"

namespace notch::experiments {
namespace {

constexpr std::size_t kMaxPoints = 300;  // of a curve
constexpr std::string_view kControlColor = "#7a5195";

struct Look {
  std::string_view color{};
  Mark mark = Mark::circle;
};

/// By family, in the order of the list of methods; then all over again. Okabe and Ito's colours, the
/// lighter ones a little darker for thin lines on white, and shades of them.
constexpr Look kBaseline[] = {{"#444444", Mark::circle},
                              {"#2f9bd6", Mark::square},
                              {"#8a8a8a", Mark::circle},
                              {"#7fb2d1", Mark::square}};
constexpr Look kPostTraining[] = {{"#0062a3", Mark::diamond},
                                  {"#5b3f8c", Mark::diamond},
                                  {"#1f7a7a", Mark::plus},
                                  {"#3f6fd8", Mark::cross}};
constexpr Look kTrained[] = {{"#d98e00", Mark::triangle_up},
                             {"#c84a00", Mark::triangle_down},
                             {"#7d9c00", Mark::triangle_up},
                             {"#008a62", Mark::star}};
constexpr Look kHalf{"#b3578f", Mark::cross}, kOther{"#b3578f", Mark::plus};

const Look& look_of(std::string_view name) {
  if (name == "fp16") return kHalf;
  const quant::Method* method = quant::find_method(name);
  if (!method) return kOther;
  const std::span<const Look> looks =
      method->family == quant::Family::baseline        ? std::span<const Look>(kBaseline)
      : method->family == quant::Family::post_training ? std::span<const Look>(kPostTraining)
                                                       : std::span<const Look>(kTrained);
  std::size_t before = 0;
  for (const quant::Method* other : quant::methods()) {
    if (other == method) break;
    before += other->family == method->family;
  }
  return looks[before % looks.size()];
}

std::string level_name(const std::vector<SeedResults>& seeds, std::string_view row,
                       std::string_view shown) {
  std::vector<double> losses;
  for (const SeedResults& s : seeds) losses.push_back(find_row(s, row)->eval.loss);
  return str(shown, ' ', printed("%.4f", mean_spread(losses).mean));
}

struct Curve {
  std::vector<PlotPoint> training{};
  std::vector<PlotPoint> validation{};
};

/// By run ("seed-1337/fp32"). Ends at the first line that is not one of ours: a run that was killed
/// may have left half a line.
std::map<std::string, Curve> read_curves(std::string_view metrics) {
  std::map<std::string, Curve> curves;
  while (!metrics.empty()) {
    const std::size_t end = metrics.find('\n');
    try {
      const Json line = Json::parse(metrics.substr(0, end), "metrics");
      Curve& curve = curves[line.at("run", "metrics").as_string("metrics")];
      const double step = line.at("step", "metrics").as_number("metrics");
      const auto add = [&](const char* key, std::vector<PlotPoint>& points) {
        const Json* value = line.find(key);
        if (value && value->is_number()) {
          points.push_back({.x = step, .y = value->as_number("metrics")});
        }
      };
      add("loss", curve.training);
      add("val_loss", curve.validation);
    } catch (const Error&) {
      break;
    }
    metrics.remove_prefix(end == std::string_view::npos ? metrics.size() : end + 1);
  }
  return curves;
}

/// At most kMaxPoints points, each the mean of as many neighbours; the last may have fewer.
std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points) {
  const std::size_t bin = (points.size() + kMaxPoints - 1) / kMaxPoints;
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
             .caption = "Every seed has one line of each kind."};
  for (const SeedResults& s : seeds) {
    const auto found = curves.find(str("seed-", s.seed, "/fp32"));
    if (found == curves.end()) continue;
    out.plot.series.push_back({.name = "training (one batch)",
                               .color = "#7fb2d4",
                               .line = true,
                               .points = thinned(found->second.training)});
    out.plot.series.push_back({.name = "validation",
                               .color = "#c84a00",
                               .mark = Mark::circle,
                               .line = true,
                               .points = thinned(found->second.validation)});
  }
  // Validation goes over the noisier lines of all seeds.
  std::ranges::stable_sort(out.plot.series, {}, &PlotSeries::mark);
  return out;
}

Figure fork_figure(const std::map<std::string, Curve>& curves, const SeedResults& seed) {
  Figure out{.plot = {.title = str("Training after the fork, seed ", seed.seed),
                      .x_label = "step after the fork",
                      .y_label = "training loss, nats per token",
                      .height = 300}};
  const auto curve_of = [&](std::string_view row) {
    const auto found = curves.find(str("seed-", seed.seed, '/', row));
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
                               .points = thinned(points)});
  }
  if (distilled) out.caption += "Distilled phases are left out: their loss is another quantity.";
  return out;
}

}  // namespace

Figure loss_figure(const Statistics& statistics) {
  Figure out{.plot = {.title = "Loss against size",
                      .x_label = "bits per weight, whole model",
                      .y_label = "loss − fp32 loss, nats",
                      .may_be_log = true}};
  Plot& plot = out.plot;
  const std::vector<SeedResults>& seeds = statistics.seeds();
  const std::vector<RowResult>& rows = statistics.rows();
  std::set<std::string> granularities;
  for (const RowResult& r : rows) {
    if (!r.granularity.empty()) granularities.insert(r.granularity);
  }
  std::vector<std::string> names;  // in the legend, and side by side at every width
  struct Place {
    double sum = 0;
    int rows = 0;
  };
  std::map<std::string, Place> places;
  std::map<std::pair<std::string, std::string>, std::size_t> series;  // of a name and granularity
  for (const RowResult& r : rows) {
    const double bits = r.size.bits_per_weight();
    const Difference change = statistics.difference(r.name, kBaseRow);
    const double half = change.high - change.mean;
    if (r.granularity.empty() && r.method != "fp16") continue;
    const std::string name = label(r);
    if (r.method != "fp16") {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
      Place& place = places[str("int", r.bits, granularities.size() > 1 ? " " : "",
                                granularities.size() > 1 ? r.granularity : std::string{})];
      place.sum += bits;
      ++place.rows;
    }
    const auto [at, is_new] = series.try_emplace({name, r.granularity}, plot.series.size());
    if (is_new) {
      const Look& look = look_of(r.method);
      plot.series.push_back({.name = name,
                             .color = std::string(look.color),
                             .mark = look.mark,
                             .hollow = r.on_control,
                             .line = true});
    }
    if (!std::isfinite(change.mean)) {
      out.caption += str(r.name, " is not shown: its loss is not finite. ");
      continue;
    }
    plot.series[at->second].points.push_back(
        {.x = bits,
         .y = change.mean,
         .error = std::isfinite(half) ? half : 0,
         .note = str(name, " int", r.bits, ' ', r.granularity, ": ", printed("%+.4f", change.mean),
                     " ± ", printed("%.4f", half), " nats at ", printed("%.2f", bits),
                     " bits per weight")});
  }
  for (PlotSeries& s : plot.series) {
    std::ranges::stable_sort(s.points, {}, &PlotPoint::x);
    const auto place = std::ranges::find(names, s.name);
    if (place != names.end()) {
      s.offset =
          static_cast<double>(place - names.begin()) - 0.5 * static_cast<double>(names.size() - 1);
    }
  }
  for (const auto& [name, place] : places) plot.places.push_back({name, place.sum / place.rows});
  plot.levels.push_back({.name = level_name(seeds, "fp32", "fp32"), .color = "#222222", .y = 0});
  for (const RowResult* control : controls_of(seeds.front())) {
    plot.levels.push_back({.name = level_name(seeds, control->name, control_title(control->name)),
                           .color = std::string(kControlColor),
                           .y = statistics.difference(control->name, kBaseRow).mean});
  }
  out.caption +=
      "Lower is better. Bars: 95 % interval of the paired change. Rows of one width stand side by "
      "side; the middle is their size.";
  if (std::ranges::any_of(rows, &RowResult::on_control)) {
    out.caption += " Hollow marks are made from a control (fp32 with the extra steps of QAT).";
  }
  return out;
}

std::vector<Figure> curve_figures(std::string_view metrics, const std::vector<SeedResults>& seeds) {
  const std::map<std::string, Curve> curves = read_curves(metrics);
  std::vector<Figure> out;
  for (Figure& f : std::vector{fp32_figure(curves, seeds), fork_figure(curves, seeds.front())}) {
    if (!f.plot.series.empty()) out.push_back(std::move(f));
  }
  return out;
}

}  // namespace notch::experiments
