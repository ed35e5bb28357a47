#include "experiments/run/run_time.h"

#include <algorithm>

#include "experiments/config/config.h"
#include "experiments/run/row_facts.h"

namespace notch::experiments {
namespace {

/// A step through rounding beside one of fp32: measured 1.1 to 1.5 on models of 0.1 to 3 million
/// parameters.
constexpr double kRoundedStep = 1.3;
/// A row without training: rounding and scoring take about as long as a few steps.
constexpr double kPostTraining = 5;

}  // namespace

RunTime::RunTime(const ExperimentConfig& config) {
  const std::vector<RowResult> planned = planned_results(config);
  const auto seeds = static_cast<int>(config.seeds.size());
  for (const RowResult& r : planned) {
    kind_of_[r.name] = r.method;
    Kind& kind = kinds_[r.method];
    kind.left += seeds;
    const bool whole = r.name == kBaseRow || (r.trained && r.control == kBaseRow);
    kind.steps = whole       ? config.train.steps
                 : r.trained ? qat_steps(config) * (r.granularity.empty() ? 1 : kRoundedStep)
                             : kPostTraining;
  }
  rows_ = seeds * static_cast<int>(planned.size());
}

RunLeft RunTime::begin(std::string_view row) {
  RunLeft left{.row = row_ + 1, .rows = rows_};
  const Kind& now = kind(row);
  // The pace of a step where anything that trains has been made.
  double seconds = 0, steps = 0;
  for (const auto& [name, k] : kinds_) {
    if (k.made == 0 || k.steps <= kPostTraining) continue;
    seconds += k.seconds;
    steps += k.steps * k.made;
  }
  for (const auto& [name, k] : kinds_) {
    const int others = k.left - (&k == &now ? 1 : 0);
    if (k.made > 0) {
      left.seconds += others * k.seconds / k.made;
    } else if (steps > 0) {
      left.seconds += others * k.steps * seconds / steps;
    } else {
      left.steps += others * k.steps;
    }
  }
  return left;
}

void RunTime::end(std::string_view row, double seconds) {
  Kind& now = kind(row);
  now.seconds += seconds;
  ++now.made;
  now.left = std::max(now.left - 1, 0);
  ++row_;
}

}  // namespace notch::experiments
