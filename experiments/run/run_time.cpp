#include "experiments/run/run_time.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "autograd/base/error.h"
#include "experiments/config/config_items.h"
#include "experiments/config/pipeline.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/row_facts.h"
#include "experiments/run/setup.h"
#include "quant/methods/post_training.h"

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
/// The matrices of blocks that are studied one at a time, on at most so many windows.
constexpr double kStudyWindows = 16;
double matrices(const ModelConfig& m) {
  constexpr int kGpt2 = 4, kLlama = 7;
  return static_cast<double>(m.n_layer) * (m.architecture == "llama" ? kLlama : kGpt2);
}

/// Contexts that the refinement of a method goes forward and back over: updates times windows, which
/// are keys of its section.
double refined_contexts(const ExperimentConfig& config, const quant::Method& method) {
  if (!method.refine) return 0;
  double contexts = 1;
  for (const Item& item : items_of(config)) {
    if (item.section != method.section || (item.name != "steps" && item.name != "windows"))
      continue;
    double value = 0;
    std::from_chars(item.value.data(), item.value.data() + item.value.size(), value);
    contexts *= value;
  }
  return contexts;
}

/// Tokens forward that a method takes to make codes of a model, its refinement included; with no method,
/// what pruning alone takes.
double rounding_work(const ExperimentConfig& config, const quant::Method* method,
                     double calibration) {
  if (!quant::needs_text(method, {}, config.quant.options)) return 0;
  const double refined = method ? refined_contexts(config, *method) * config.model.block_size : 0;
  return kCalibration * calibration + kTraining * kRefined * refined;
}

/// Tokens forward that choosing the widths of layers takes: on the text that they are weighed on the model
/// itself with its gradients, and for every width a rounded model, what that changes in each layer's output
/// (a pass, and its products once more), and the loss with each layer's codes alone.
double weighing_work(const ExperimentConfig& config, const quant::Method* method,
                     const ReadTokens& reads) {
  if (!method || !mixes(config, *method)) return 0;
  const quant::MixedOptions& mixed = config.quant.options.mixed;
  const std::set<int> widths(mixed.widths.begin(), mixed.widths.end());
  const double context = config.model.block_size;
  const double most = reads.train > 0 ? std::max(reads.train, context) : HUGE_VAL;
  const double text = std::min(mixed.windows * context, most);
  const double layers = matrices(config.model) + (config.quant.embedding == "same" ? 1 : 0);
  constexpr double kOutputs = 2;
  return (1 + kTraining) * text +
         static_cast<double>(widths.size()) *
             ((kOutputs + layers) * text + rounding_work(config, method, reads.calibration));
}

/// The same for all that a row rounds and prunes after the training of fp32 or its control: before its
/// own training too, and in every stage of a pipeline.
double rounding_work(const ExperimentConfig& config, const RowConfig& planned,
                     const ReadTokens& reads) {
  const ExperimentConfig own = row_config(config, planned);
  if (planned.pipeline.empty()) {
    const quant::Method* method = quant::find_method(planned.method);
    const bool trains = method && method->trains();
    return rounding_work(own, trains ? quant::start_of(*method, own.qat.from) : method,
                         reads.calibration) +
           weighing_work(own, method, reads);
  }
  double work = 0;
  const std::vector<PipelineStage> stages = parse_pipeline(planned.pipeline);
  const bool trains = std::ranges::any_of(stages, &PipelineStage::trains);
  for (const PipelineStage& stage : stages) {
    if (stage.trains()) continue;
    ExperimentConfig at = own;
    at.quant.options.prune = stage.prune;
    work += rounding_work(at, stage.method, reads.calibration);
    if (!trains) work += weighing_work(at, stage.method, reads);
  }
  return work;
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
  for (const TaskQuestion& q :
       encoded_task(data.source.tokenizer, data.task, config.model.block_size)) {
    out.task += static_cast<double>(q.prompt.size());
    for (const std::vector<std::int32_t>& label : q.labels)
      out.task += static_cast<double>(label.size());
  }
  const auto split = static_cast<double>(data.source.tokens.val.size());
  const double windows = static_cast<double>(config.train.eval_windows) * config.model.block_size;
  out.validation = windows > 0 ? std::min(windows, split) : split;
  out.train = static_cast<double>(data.source.tokens.train.size());
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
      study_ = static_cast<double>(bits.size()) * (matrices(config.model) + 1) *
               std::min(reads.validation, kStudyWindows * context);
    }
  }
  std::map<std::string, double> rounding;  // of a row
  for (const RowConfig& planned : planned_rows(config)) {
    const double work = rounding_work(config, planned, reads);
    const RowResult row = planned_result(config, planned);
    rounding[row.name] = work;
    for (const RowResult& other : of_controls(config, row)) rounding[other.name] = work;
  }
  for (const RowResult& r : planned_results(config)) {
    if (!times.contains(r.name)) continue;
    // Rows with settings of their own are told apart by their labels, and so are pipelines.
    const std::string& name = kind_of_[r.name] = str(r.method, ' ', r.label);
    Kind& kind = kinds_[name];
    kind.left += times.at(r.name);
    // A row is compared with fp32 token by token, so that both read the text.
    kind.score = reads.task + reads.scored * (r.name == kBaseRow ? 1 : 2);
    kind.work = kind.score + rounding[r.name];
    if (r.trained || r.name == kBaseRow) {
      const bool whole = r.name == kBaseRow || r.control == kBaseRow;
      const double training = training_work(whole ? base : fork, context, reads.validation);
      // A teacher that is named teaches fp32 as well, and is taken to be as large.
      const bool taught = r.distilled || (r.name == kBaseRow && !config.distill.teacher.empty());
      const double teacher = taught ? (kTraining + 1) / kTraining : 1;
      kind.work += training * teacher * (r.granularity.empty() ? 1 : kRounded);
    }
  }
}

RunTime::Kind& RunTime::kind(std::string_view row) {
  const auto at = kind_of_.find(row);
  check(at != kind_of_.end(), "run time", row, " is no row of the run");
  return kinds_.at(at->second);
}

void RunTime::there(std::int64_t seed, std::string_view row) {
  if (there_.emplace(seed, row).second) --kind(row).left;
}

RunLeft RunTime::begin(std::int64_t seed, std::string_view row) {
  RunLeft left{.row = row_ + 1, .rows = rows_};
  Kind& now = kind(row);
  if (there_.erase({seed, std::string(row)}) > 0) ++now.left;  // it was damaged
  // The pace of what was done; before that, of fp32's steps.
  const double pace = spent_work_ > 0 ? spent_seconds_ / spent_work_ : 0;
  double work = now.score + (row_ == 0 ? study_ : 0);
  for (const auto& [name, k] : kinds_) {
    const int others = std::max(k.left - (&k == &now ? 1 : 0), 0);
    if (k.made > 0) {
      left.seconds += others * k.seconds / k.made;
    } else if (k.found > 0) {
      left.seconds += others * k.found_seconds / k.found;
      work += others * k.score;
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

void RunTime::found(std::int64_t seed, std::string_view row, double seconds) {
  Kind& now = kind(row);
  if (now.work > now.score) {
    spent_seconds_ += seconds;
    spent_work_ += now.work - now.score;
  }
  now.found_seconds += seconds;
  ++now.found;
  if (there_.erase({seed, std::string(row)}) == 0) now.left = std::max(now.left - 1, 0);
  ++row_;
}

}  // namespace notch::experiments
