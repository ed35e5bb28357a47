#include "experiments/run/row_facts.h"

#include <algorithm>
#include <map>
#include <set>

#include "autograd/base/names.h"
#include "experiments/run/metrics.h"
#include "experiments/run/mixed_row.h"
#include "experiments/run/pipeline_row.h"
#include "experiments/run/run_dir.h"
#include "experiments/run/setup.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

/// "channel", "tensor", "group 32"; "channel a8" with activations of 8 bits, "channel e4m3" of FP8: rows
/// are compared with rows of the same.
std::string granularity_text(const quant::Spec& spec, int activations,
                             const quant::ActivationSpec& of) {
  std::string text(word_of(spec.granularity));
  if (spec.granularity == quant::Granularity::group) text += str(" ", spec.group_size);
  if (spec.scale == quant::ScaleType::e8m0 || quant::has_scales_of_scales(spec.scale)) {
    text += str(' ', word_of(spec.scale));
  }
  if (activations > 0)
    text += of.is_integer() ? str(" a", activations) : str(' ', word_of(of.grid));
  return text;
}

/// "lr=0.0005,ema=0.98": the settings of `own` that `other` has not. Names of controls are made of
/// it, so what prints alike counts as alike.
std::string unlike(const TrainSettings& own, const TrainSettings& other) {
  std::string out;
  const auto compare = [&](std::string_view key, std::string_view is, std::string_view was) {
    if (is != was) out += str(out.empty() ? "" : ",", key, '=', is);
  };
  const auto number = [&](std::string_view key, double is, double was) {
    compare(key, printed("%.6g", is), printed("%.6g", was));
  };
  const optim::Schedule &is = own.schedule, &was = other.schedule;
  number("lr", is.lr, was.lr);
  number("min_lr_scale", is.min_lr / is.lr, was.min_lr / was.lr);
  compare("schedule", word_of(is.decay), word_of(was.decay));
  number("weight_decay", own.weight_decay, other.weight_decay);
  number("ema", own.ema, other.ema);
  return out;
}

std::string control_name(const ExperimentConfig& run, const TrainSettings& settings) {
  const std::string own = unlike(settings, fork_settings(run, 0, ""));
  return str(kControlRow, own.empty() ? "" : "-", own);
}

/// What a row trains with, but for its quantizer and when that begins.
TrainSettings shared_settings(const ExperimentConfig& run, const RowConfig& row, std::uint64_t seed,
                              const std::string& phase) {
  const ExperimentConfig own = row_config(run, row);
  TrainSettings s = row.pipeline.empty()
                        ? rounding_settings(own, seed, quant::method(row.method), phase)
                        : pipeline_settings(own, seed, parse_pipeline(row.pipeline), phase);
  s.first_step = 0;
  return s;
}

/// What the stages of a pipeline say of the row.
void describe_stages(const ExperimentConfig& config, const RowConfig& planned, RowResult& row) {
  const std::vector<PipelineStage> stages = parse_pipeline(planned.pipeline);
  const ExperimentConfig own = row_config(config, planned);
  row.method = kPipelineMethod;
  row.trained = std::ranges::any_of(stages, &PipelineStage::trains);
  row.distilled = std::ranges::any_of(stages, &PipelineStage::has_teacher);
  row.aims_at_data = std::ranges::any_of(stages, [&](const PipelineStage& s) {
    return s.trains() &&
           (!s.has_teacher() || own.distill.alpha < 1 || !own.distill.teacher.empty());
  });
  if (std::ranges::any_of(stages, &PipelineStage::begins_again)) {
    row.control = kBaseRow;
  } else if (row.aims_at_data && config.quant.control) {
    row.control = control_name(config, shared_settings(config, planned, 0, ""));
  }
}

bool is_quantized(const RowConfig& row) { return row.bits > 0; }

}  // namespace

std::string row_name(const ExperimentConfig& config, const RowConfig& row) {
  if (!is_quantized(row)) return row.label.empty() ? row.method : str(row.label, "-fp16");
  std::string name = str(row.label.empty() ? row.method : row.label, "-int", row.bits);
  if (row.activations > 0) name += str("-a", row.activations);
  const bool usual =
      row.granularity == config.quant.granularity && row.group_size == config.quant.group_size;
  if (!usual) {
    name += row.granularity == "group" ? str("-g", row.group_size) : str('-', row.granularity);
  }
  if (row.grid != grid_of_width(config, row.bits)) name += str('-', row.grid);
  return row.scale == config.quant.scale ? name : str(name, '-', row.scale);
}

std::vector<RowConfig> rows_of_method(ExperimentConfig config, const std::string& method) {
  config.row.clear();
  config.quant.methods = {method};
  return planned_rows(config);
}

RowResult planned_result(const ExperimentConfig& config, const RowConfig& planned) {
  RowResult row{.name = row_name(config, planned), .method = planned.method};
  if (!is_quantized(planned)) {
    row.bits = 16;
    row.label = planned.label;
    if (!planned.pipeline.empty()) describe_stages(config, planned, row);
    return row;
  }
  const quant::Method& method = quant::method(planned.method);
  const quant::Spec spec = row_spec(planned);
  row.label = planned.label;
  row.bits = planned.bits;
  row.granularity = granularity_text(spec, planned.activations, config.activations.spec);
  row.grid = quant::grid_text(spec);
  if (!planned.pipeline.empty()) {
    describe_stages(config, planned, row);
    return row;
  }
  row.trained = method.trains();
  row.distilled = method.distills;
  const ExperimentConfig own = row_config(config, planned);
  if (row.label.empty() && mixes(own, method)) row.label = str(method.name, "-mixed");
  if (!row.trained) return row;
  const bool starts_late = rounding_settings(own, 0, method, "").first_step > 0;
  // Another teacher than fp32 is no aim at fp32 either.
  row.aims_at_data =
      !method.distills || own.distill.alpha < 1 || starts_late || !own.distill.teacher.empty();
  const TrainSettings settings = shared_settings(config, planned, 0, "");
  if (own.qat.from == "scratch") {
    row.control = kBaseRow;
    row.unlike_control = unlike(settings, base_settings(config, 0));
  } else if (row.aims_at_data && config.quant.control) {
    row.control = control_name(config, settings);
  }
  return row;
}

RowResult planned_result(const Control& control) {
  const std::string title = control_title(control.name);
  return {.name = control.name,
          .method = str(kControlRow, title.substr(std::string_view("control").size())),
          .trained = true,
          .aims_at_data = true};
}

std::vector<Control> controls(const ExperimentConfig& config, std::uint64_t seed) {
  std::vector<Control> out;
  if (!config.quant.control) return out;
  const std::string own(kControlRow);
  out.push_back({.name = own, .settings = fork_settings(config, seed, own)});
  for (const RowConfig& planned : planned_rows(config)) {
    const std::string name = planned_result(config, planned).control;
    if (name.empty() || name == kBaseRow ||
        std::ranges::find(out, name, &Control::name) != out.end()) {
      continue;
    }
    out.push_back({.name = name, .settings = shared_settings(config, planned, seed, name)});
  }
  return out;
}

std::vector<RowResult> of_controls(const ExperimentConfig& config, const RowResult& row) {
  std::vector<std::string> names;
  if (!config.quant.control || row.trained || row.granularity.empty()) return {};
  for (const RowConfig& planned : planned_rows(config)) {
    const RowResult other = planned_result(config, planned);
    if (other.bits != row.bits || other.granularity != row.granularity) continue;
    if (other.control.empty() || other.control == kBaseRow) continue;
    if (std::ranges::find(names, other.control) == names.end()) names.push_back(other.control);
  }
  if (names.empty()) names.emplace_back(kControlRow);
  std::vector<RowResult> out;
  for (const std::string& name : names) {
    RowResult& made = out.emplace_back(row);
    made.name = str(kOfControl, name.substr(kControlRow.size()), '-', row.name);
    made.on_control = true;
    made.control = name;
  }
  return out;
}

std::vector<RowResult> planned_results(const ExperimentConfig& config) {
  std::vector<RowResult> out{{.name = std::string(kBaseRow), .method = std::string(kBaseRow)}};
  for (const Control& control : controls(config, 0)) out.push_back(planned_result(control));
  for (const RowConfig& planned : planned_rows(config)) {
    const RowResult& row = out.emplace_back(planned_result(config, planned));
    const std::vector<RowResult> made = of_controls(config, row);
    out.insert(out.end(), made.begin(), made.end());
  }
  return out;
}

void follow_plan(RowResult& made, const RowResult& planned) {
  made.method = planned.method;
  made.label = planned.label;
  made.distilled = planned.distilled;
  made.aims_at_data = planned.aims_at_data;
  made.control = planned.control;
  made.unlike_control = planned.unlike_control;
}

void note_pruned(const quant::Quantized& quantized, RowResult& row) {
  double pruned = 0, weights = 0;
  for (const quant::NamedMask& m : quantized.masks) {
    pruned += static_cast<double>(std::ranges::count(m.keep, std::uint8_t{0}));
    weights += static_cast<double>(m.keep.size());
  }
  if (weights > 0) row.figures.emplace(quant::kPrunedFigure.key, pruned / weights);
}

std::string rows_without_curve(const ExperimentConfig& config,
                               const std::vector<SeedResults>& seeds, std::string_view metrics) {
  std::set<std::string> told;  // "seed-1337/fp32"
  read_metrics(metrics, [&](const MetricsLine& line) {
    if (line.fields.find("loss")) told.insert(row_of_phase(line.run));
  });
  std::vector<std::string> names;  // in their order
  std::map<std::string, std::vector<std::int64_t>> lost;
  for (const SeedResults& seed : seeds) {
    for (const RowResult& row : seed.rows) {
      const bool trained = row.trained || (row.name == kBaseRow && config.train.steps > 0);
      if (!trained || told.contains(training_name(seed.seed, row.name))) continue;
      if (lost[row.name].empty()) names.push_back(row.name);
      lost[row.name].push_back(seed.seed);
    }
  }
  std::string out;
  for (const std::string& name : names) {
    out += (out.empty() ? "" : ", ") + name;
    if (lost[name].size() == seeds.size()) continue;
    for (const std::int64_t seed : lost[name])
      out += str(seed == lost[name].front() ? " of seed " : " and ", seed);
  }
  return out;
}

std::string row_of_phase(const std::string& phase) {
  constexpr std::string_view kBefore = "-before", kStage = "-stage";
  if (phase.ends_with(kBefore)) return phase.substr(0, phase.size() - kBefore.size());
  const std::size_t at = phase.rfind(kStage);
  const bool stage = at != phase.npos && at + kStage.size() < phase.size() &&
                     phase.find_first_not_of("0123456789", at + kStage.size()) == phase.npos;
  return stage ? phase.substr(0, at) : phase;
}

std::vector<std::string> all_row_names(const ExperimentConfig& config) {
  std::vector<std::string> names;
  for (const RowResult& row : planned_results(config)) names.push_back(row.name);
  return names;
}

}  // namespace notch::experiments
