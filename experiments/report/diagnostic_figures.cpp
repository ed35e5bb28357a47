#include "experiments/report/diagnostic_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "autograd/base/error.h"
#include "experiments/run/metrics.h"
#include "experiments/run/run_dir.h"
#include "experiments/show/palette.h"

namespace notch::experiments {
namespace {

/// One report of a row's quantizer: by key, a number per layer, or a histogram's shares, averaged
/// over the layers.
struct DiagnosticReport {
  double step = 0;
  Json quantizer{};
};

/// By run ("seed-1337/qat-lsq-int4"); a run that has none is absent.
std::map<std::string, std::vector<DiagnosticReport>> read_reports(std::string_view metrics) {
  std::map<std::string, std::vector<DiagnosticReport>> reports;
  read_metrics(metrics, [&](const MetricsLine& line) {
    const Json* quantizer = line.fields.find("quantizer");
    if (quantizer) reports[line.run].push_back({static_cast<double>(line.step), *quantizer});
  });
  return reports;
}

/// The mean of f over the layers that have a number; NaN if none has.
template <class F>
double mean_over_layers(const DiagnosticReport& report, const char* key, const F& f) {
  const Json* list = report.quantizer.find(key);
  double sum = 0, n = 0;
  if (!list || !list->is_array()) return std::nan("");
  for (const Json& value : list->as_array(key)) {
    if (value.is_number()) {
      sum += f(value.as_number(key));
      ++n;
    }
  }
  return n > 0 ? sum / n : std::nan("");
}

/// A histogram's shares as means over layers.
std::vector<double> mean_histogram(const DiagnosticReport& report, const char* key) {
  std::vector<double> shares;
  const Json* list = report.quantizer.find(key);
  if (!list || !list->is_array()) return shares;
  const Json::Array& layers = list->as_array(key);
  for (const Json& layer : layers) {
    if (!layer.is_array()) continue;
    const Json::Array& bins = layer.as_array(key);
    shares.resize(std::max(shares.size(), bins.size()), 0.0);
    for (std::size_t i = 0; i < bins.size(); ++i) {
      shares[i] += bins[i].as_number(key) / static_cast<double>(layers.size());
    }
  }
  return shares;
}

using Reports = std::vector<DiagnosticReport>;
using CurveOf = std::vector<PlotPoint> (*)(const Reports&);

template <class F>
std::vector<PlotPoint> over_training(const Reports& reports, const char* key, const F& f) {
  std::vector<PlotPoint> out;
  for (const DiagnosticReport& r : reports)
    out.push_back({.x = r.step, .y = mean_over_layers(r, key, f)});
  return out;
}

std::vector<PlotPoint> percent(const Reports& reports, const char* key) {
  return over_training(reports, key, [](double share) { return 100 * share; });
}

std::vector<PlotPoint> steps(const Reports& reports) {
  std::vector<PlotPoint> out =
      over_training(reports, "step", [](double step) { return std::log(step); });
  const double first = out.empty() ? 0 : out.front().y;
  for (PlotPoint& p : out) p.y = std::exp(p.y - first);
  return out;
}

std::vector<PlotPoint> last_histogram(const Reports& reports, const char* key, std::size_t skip,
                                      const auto& x_of) {
  std::vector<PlotPoint> out;
  const std::vector<double> shares = mean_histogram(reports.back(), key);
  for (std::size_t i = skip; i < shares.size(); ++i) {
    out.push_back({.x = x_of(i), .y = 100 * shares[i]});
  }
  return out;
}

struct Picture {
  std::string_view title{}, x_label{}, y_label{};
  CurveOf curve = nullptr;
};

constexpr std::string_view kStep = "step after the fork";
const std::array<Picture, 7> kPictures{{
    {"Signal to rounding noise", kStep, "dB",
     [](const Reports& r) { return over_training(r, "sqnr_db", [](double x) { return x; }); }},
    {"Codes changed since the report before", kStep, "% of the weights",
     [](const Reports& r) { return percent(r, "changed"); }},
    {"Weights outside the grid", kStep, "% of the weights",
     [](const Reports& r) { return percent(r, "clipped"); }},
    {"Step size", kStep, "÷ first report's", steps},
    {"STE and expected gradient", kStep, "cosine",
     [](const Reports& r) { return over_training(r, "ste_cosine", [](double x) { return x; }); }},
    {"Turns of a code, last report", "turns (1, 2–3, 4–7, 8 and more)", "% of the weights",
     [](const Reports& r) {
       return last_histogram(r, "reversals", 1,
                             [](std::size_t i) { return std::exp2(static_cast<double>(i - 1)); });
     }},
    {"Distance to a boundary, last report", "half steps", "% of the weights",
     [](const Reports& r) {
       return last_histogram(r, "boundary", 0,
                             [](std::size_t i) { return (static_cast<double>(i) + 0.5) / 8; });
     }},
}};

}  // namespace

std::vector<FigureGroup> diagnostic_figures(std::string_view metrics,
                                            const std::vector<SeedResults>& seeds) {
  const std::map<std::string, Reports> reports = read_reports(metrics);
  std::vector<FigureGroup> groups;
  const SeedResults& seed = first_seed(seeds, "diagnostics");
  for (const RowResult& row : seed.rows) {
    const auto found = reports.find(training_name(seed.seed, row.name));
    if (!row.trained || found == reports.end()) continue;
    const std::string title = str("int", row.bits);
    auto group = std::ranges::find(groups, title, &FigureGroup::title);
    if (group == groups.end()) {
      group = groups.insert(groups.end(), {.title = title});
      for (const Picture& p : kPictures) {
        group->figures.push_back({.plot = {.title = std::string(p.title),
                                           .x_label = std::string(p.x_label),
                                           .y_label = std::string(p.y_label),
                                           .width = 420,
                                           .height = 300}});
      }
    }
    for (std::size_t i = 0; i < kPictures.size(); ++i) {
      std::vector<PlotSeries>& series = group->figures[i].plot.series;
      series.push_back({.name = row.name,
                        .color = std::string(series_color(series.size())),
                        .mark = Mark::circle,
                        .line = true,
                        .points = kPictures[i].curve(found->second)});
    }
  }
  return groups;
}

namespace {

/// Empty where the report does not name its layers.
std::vector<std::string> layer_names(const DiagnosticReport& report) {
  std::vector<std::string> names;
  const Json* list = report.quantizer.find("layers");
  if (!list) return names;
  for (const Json& name : list->as_array("layers")) {
    if (!name.is_string()) return {};
    names.push_back(name.as_string("layers"));
  }
  return names;
}

/// A number per layer of a report; NaN where there is none, or an entry of another kind.
std::vector<double> by_layer(const DiagnosticReport& report, const char* key,
                             double (*f)(const Json&)) {
  std::vector<double> out;
  const Json* list = report.quantizer.find(key);
  if (!list) return out;
  for (const Json& value : list->as_array(key)) out.push_back(f(value));
  return out;
}

double number_of(const Json& value) {
  return value.is_number() ? value.as_number("quantizer") : std::nan("");
}

/// In percent, all but the first bin of a histogram: the weights that turned at least once.
double turned_percent(const Json& value) {
  if (!value.is_array() || value.as_array("quantizer").empty()) return std::nan("");
  return 100 * (1 - number_of(value.as_array("quantizer").front()));
}

}  // namespace

std::vector<HeatMap> diagnostic_maps(std::string_view metrics,
                                     const std::vector<SeedResults>& seeds) {
  const std::map<std::string, Reports> reports = read_reports(metrics);
  HeatMap cosine{.title = "Straight-through gradient, last report",
                 .notes =
                     "Cosine between the gradient that training uses and that of the loss "
                     "expected under stochastic rounding: 1 is unbiased in direction; \"-\" "
                     "where it is lost in noise."},
      turned{.title = "Codes that turned back, last report",
             .notes =
                 "Share of a layer's weights, in percent, whose code went up after it had gone "
                 "down, or the reverse, since the report before: oscillation."},
      stepped{.title = "Step sizes, last report",
              .notes =
                  "A layer's mean step over that of the first report: LSQ learns it, other methods "
                  "follow the weights."};
  const SeedResults& seed = first_seed(seeds, "diagnostics");
  for (const RowResult& row : seed.rows) {
    const auto found = reports.find(training_name(seed.seed, row.name));
    if (!row.trained || found == reports.end()) continue;
    const DiagnosticReport &first = found->second.front(), &last = found->second.back();
    const std::vector<std::string> names = layer_names(last);
    if (names.empty()) continue;
    if (cosine.rows.empty()) cosine.rows = turned.rows = stepped.rows = names;
    if (names != cosine.rows) continue;  // a row with a plan of its own
    cosine.columns.push_back({.title = row.name,
                              .group = "cosine",
                              .decimals = 2,
                              .low_is_bad = true,
                              .values = by_layer(last, "ste_cosine", number_of)});
    turned.columns.push_back({.title = row.name,
                              .group = "turned",
                              .decimals = 2,
                              .values = by_layer(last, "reversals", turned_percent)});
    std::vector<double> steps = by_layer(last, "step", number_of);
    const std::vector<double> begun = by_layer(first, "step", number_of);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      steps[i] = i < begun.size() ? steps[i] / begun[i] : std::nan("");
    }
    stepped.columns.push_back(
        {.title = row.name, .group = "step", .decimals = 3, .values = std::move(steps)});
  }
  std::vector<HeatMap> out;
  for (HeatMap* map : {&cosine, &turned, &stepped}) {
    const auto complete = [&](const HeatColumn& c) { return c.values.size() == map->rows.size(); };
    if (!map->columns.empty() && std::ranges::all_of(map->columns, complete)) {
      out.push_back(std::move(*map));
    }
  }
  return out;
}

}  // namespace notch::experiments
