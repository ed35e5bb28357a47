// Small pictures of what the quantizers did while rows were trained, from metrics.jsonl.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/report/figures.h"
#include "experiments/show/heat_map.h"

namespace notch::experiments {

/// Pictures side by side.
struct FigureGroup {
  std::string title{};
  std::vector<Figure> figures{};
};

/// A group per width, of the first seed's trained rows; each picture has a line per row. Over the
/// training, means over layers: signal to rounding noise, codes that changed, weights outside the
/// grid, step sizes, the cosine between the straight-through gradient and that of the expected
/// loss. Of the last report: how often codes turned back, and how far weights were from the
/// boundary of a code (quant/train/diagnostics.h). `metrics` is the text of metrics.jsonl; reading ends
/// at the first line that is not one of ours.
std::vector<FigureGroup> diagnostic_figures(std::string_view metrics,
                                            const std::vector<SeedResults>& seeds);

/// What of them differs by layer: of every trained row of the first seed its last report's cosine
/// between the straight-through gradient and that of the expected loss, and the share of weights
/// whose code turned back since the report before, and its step size over the first report's. Nothing
/// without such reports.
std::vector<HeatMap> diagnostic_maps(std::string_view metrics,
                                     const std::vector<SeedResults>& seeds);

}  // namespace notch::experiments
