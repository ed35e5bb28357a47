#include "experiments/run/run_time.h"

#include <algorithm>
#include <charconv>

#include "experiments/config/config_items.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"

namespace notch::experiments {
namespace {

/// Forward and backward of a token, in forward passes.
constexpr double kTraining = 3;
/// A training step through rounding beside one of fp32, with its reports: 1.04 to 1.06 in
/// experiments/RESULTS.md, up to 1.3 in small models with short trainings.
constexpr double kRounded = 1.1;
/// A token of calibration text: every stage runs to observe and to go on, and sums the moments of
/// its inputs.
constexpr double kCalibration = 4;
/// An update of codes beside a training step of as many windows: 1.1 to 1.4, AdaRound's, SignRound's
/// and GSQ's on 158 k weights, by processor time.
constexpr double kRefined = 1.25;
/// Matrices of a block that are studied one at a time, on at most so many windows.
constexpr double kMatrices = 4, kStudyWindows = 16;

/// Contexts that the refinement of a method goes forward and back over: updates times windows, which
/// are keys of its section.
double refined_contexts(const ExperimentConfig& config, const quant::Method& method) {
  if (!method.refine) return 0;
  double contexts = 1;
  for (const Item& item : items_of(config)) {
    if (item.section != method.section || (item.name != "steps" && item.name != "windows")) continue;
    double value = 0;
    std::from_chars(item.value.data(), item.value.data() + item.value.size(), value);
    contexts *= value;
  }
  return contexts;
}

double training_work(const TrainSettings& s, double context, double validation) {
  const double tokens = static_cast<double>(s.batch_size * s.grad_accum) * context;
  const double looks =
      s.eval_every > 0 ? static_cast<double>((s.schedule.steps + s.eval_every - 1) / s.eval_every)
                       : 1;
  return static_cast<double>(s.schedule.steps) * tokens * kTraining + looks * validation;
}

}  // namespace

ReadTokens read_tokens(const ExperimentConfig& config, const Data& data) {
  ReadTokens out;
  out.scored = static_cast<double>(scored_text(config, data).tokens.size());
  for (const TaskSequence& s :
       task_sequences(data.source.tokenizer, data.task, config.model.block_size)) {
    out.task += static_cast<double>(s.ids.size());
  }
  const auto split = static_cast<double>(data.source.tokens.val.size());
  const double windows = static_cast<double>(config.train.eval_windows) * config.model.block_size;
  out.validation = windows > 0 ? std::min(windows, split) : split;
  out.calibration =
      static_cast<double>(calibration_windows(config, data.source.tokens.train.size())) *
      config.model.block_size;
  return out;
}

RunTime::RunTime(const ExperimentConfig& config, const ReadTokens& reads, const Shard& shard) {
  const double context = config.model.block_size;
  const TrainSettings base = base_settings(config, 0), fork = fork_settings(config, 0, "");
  step_work_ = static_cast<double>(base.batch_size * base.grad_accum) * context * kTraining;
  std::map<std::string, int> times;  // a row is made
  for (const std::int64_t seed : seeds_of(config, shard)) {
    for (const std::string& name : rows_of(config, shard, seed)) {
      ++times[name];
      ++rows_;
    }
    if (seed == config.seeds.front()) {
      std::vector<int> bits;
      for (const RowConfig& r : planned_rows(config)) {
        if (r.bits > 0 && std::ranges::find(bits, r.bits) == bits.end()) bits.push_back(r.bits);
      }
      study_ = static_cast<double>(bits.size()) * (kMatrices * config.model.n_layer + 1) *
               std::min(reads.validation, kStudyWindows * context);
    }
  }
  std::map<std::string, double> refined;  // tokens, of a row
  for (const RowConfig& planned : planned_rows(config)) {
    const quant::Method* method = quant::find_method(planned.method);
    if (!method) continue;
    const double tokens = refined_contexts(row_config(config, planned), *method) * context;
    const RowResult row = planned_result(config, planned);
    refined[row.name] = tokens;
    for (const RowResult& other : of_controls(config, row)) refined[other.name] = tokens;
  }
  for (const RowResult& r : planned_results(config)) {
    if (!times.contains(r.name)) continue;
    // Rows with settings of their own are told apart by their labels, and so are pipelines.
    const std::string& name = kind_of_[r.name] = str(r.method, ' ', r.label);
    Kind& kind = kinds_[name];
    kind.left += times.at(r.name);
    // A row is compared with fp32 token by token, so that both read the text.
    kind.score = reads.task + reads.scored * (r.name == kBaseRow ? 1 : 2);
    kind.work = kind.score;
    const quant::Method* method = quant::find_method(r.method);
    if (r.trained || r.name == kBaseRow) {
      const bool whole = r.name == kBaseRow || r.control == kBaseRow;
      const double training = training_work(whole ? base : fork, context, reads.validation);
      const double teacher = r.distilled ? (kTraining + 1) / kTraining : 1;
      kind.work += training * teacher * (r.granularity.empty() ? 1 : kRounded);
    } else if (method && method->needs.reads_text()) {
      kind.work += kCalibration * reads.calibration + kTraining * kRefined * refined[r.name];
    }
  }
}

RunLeft RunTime::begin(std::string_view row) {
  RunLeft left{.row = row_ + 1, .rows = rows_};
  const Kind& now = kind(row);
  // The pace of what was done; before that, of fp32's steps.
  const double pace = spent_work_ > 0 ? spent_seconds_ / spent_work_ : 0;
  double work = now.score + (row_ == 0 ? study_ : 0);
  for (const auto& [name, k] : kinds_) {
    const int others = std::max(k.left - (&k == &now ? 1 : 0), 0);
    if (k.made > 0) {
      left.seconds += others * k.seconds / k.made;
    } else {
      work += others * k.work;
    }
  }
  if (pace > 0) {
    left.seconds += work * pace;
  } else {
    left.steps = work / step_work_;
  }
  return left;
}

void RunTime::end(std::string_view row, double seconds) {
  Kind& now = kind(row);
  now.seconds += seconds;
  spent_seconds_ += seconds;
  spent_work_ += now.work;
  ++now.made;
  now.left = std::max(now.left - 1, 0);
  ++row_;
}

void RunTime::found(std::string_view row, double seconds) {
  Kind& now = kind(row);
  if (now.work > now.score) {
    spent_seconds_ += seconds;
    spent_work_ += now.work - now.score;
  }
  now.left = std::max(now.left - 1, 0);
  ++row_;
}

}  // namespace notch::experiments
