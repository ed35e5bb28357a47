// Figures: what a run's results and metrics look like as plots.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/report/statistics.h"
#include "experiments/run/results.h"
#include "experiments/show/plot.h"

namespace notch::experiments {

/// A plot with the sentences that say how to read it.
struct Figure {
  Plot plot{};
  std::string caption{};
};

/// Curves over steps, from the text of metrics.jsonl: the fp32 phase of all seeds; the learning
/// rates; and of the phases after the fork of the first seed the difference to the control's
/// training loss at the same step where there is a control (all phases read the same batches), and
/// the validation loss beside the control's. Distilled phases are left out of the differences: their
/// loss is another quantity. A figure without lines is left out.
std::vector<Figure> curve_figures(std::string_view metrics, const std::vector<SeedResults>& seeds);

}  // namespace notch::experiments
