// What stands in a report beside its tables and plots: layers, samples, and what the numbers do not
// say.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/report/html_report.h"
#include "experiments/report/statistics.h"
#include "experiments/report/summary.h"
#include "experiments/run/layer_study.h"

namespace notch::experiments {

/// What the first seed's fp32, its control and the best row of every family at each width wrote.
/// Empty for runs of builds that sampled nothing.
PageSamples page_samples(const SeedResults& seed, const std::vector<WidthSummary>& widths);

/// What a run's study says of every matrix; and how its weights lie.
HeatMap study_map(const ModelStudy& study);
std::vector<WeightHistogram> study_weights(const ModelStudy& study);

std::vector<std::string> limits(const ExperimentConfig& config, const Statistics& statistics);

}  // namespace notch::experiments
