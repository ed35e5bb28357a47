// What of a row with a pipeline contradicts it: the row's own method, its settings, the experiment's.
#include <algorithm>

#include "autograd/base/error.h"
#include "experiments/config/pipeline.h"

namespace notch::experiments {
namespace {

/// The stages of a row; what cannot be is refused at its line.
std::vector<PipelineStage> stages_of(const RowConfig& row, const std::string& key,
                                     const Origins& origins) {
  try {
    return parse_pipeline(row.pipeline);
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    parts.what = str(parts.where, ": ", parts.what);
    origins.fail(str(key, '.', e.parts().field), std::move(parts));
  }
}

void check_row(const RowConfig& row, const std::string& key, const Origins& origins) {
  std::vector<RowConfig> implied{{.pipeline = row.pipeline}};
  stages_of(row, key, origins);
  imply_pipelines(implied);
  const auto require = [&](const char* field, const std::string& is, const std::string& should) {
    if (is == should) return;
    origins.fail(str(key, '.', field), {.what = "contradicts the row's pipeline, which says it",
                                        .found = is,
                                        .expected = should,
                                        .hint = str("leave ", field, " out")});
  };
  require("method", row.method, implied[0].method);
  require("bits", str(row.bits), str(implied[0].bits));
}

void check_settings(const ExperimentConfig& config, const RowConfig& row, const std::string& key,
                    const Origins& origins) {
  const std::vector<PipelineStage> stages = stages_of(row, key, origins);
  const ExperimentConfig own = row_config(config, row);
  const auto refuse = [&](std::size_t stage, const std::string& what, std::string hint) {
    origins.fail(str(key, ".pipeline[", stage, "]"),
                 {.what = str("stage ", stage + 1, ", \"", stages[stage].text, "\": ", what),
                  .hint = std::move(hint)});
  };
  const auto require_off = [&](bool off, const char* setting, const char* instead) {
    if (off) return;
    origins.fail(key + ".pipeline",
                 {.what = str(setting, " has no place in a pipeline"), .hint = instead});
  };
  require_off(!own.quant.options.prune.on(), "prune.method", "a stage \"prune 2:4\" says when");
  require_off(own.quant.options.mixed.widths.empty(), "mixed.widths",
              "all its layers have one width");
  require_off(own.qat.from == "fp32", "qat.from",
              "the stage before says what training begins with");
  require_off(own.qat.start == 0, "qat.start",
              "a stage \"train 50%\" before rounding says as much");
  require_off(!own.qlora.merge, "qlora.merge",
              "a row of qlora, whose qat.from says by which method the sum is rounded");
  if (stages[0].kind == PipelineStage::Kind::distill && own.distill.alpha == 1 &&
      own.distill.teacher.empty())
    refuse(0, "fp32 is its own teacher here and learns nothing", "prune or train it first");
  std::int64_t parts = 0, blocks = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const PipelineStage& s = stages[i];
    parts += s.trains() && !trains_again(stages, i);
    if (s.begins_again() && config.train.steps <= s.count) {
      refuse(i, str("fp32 is trained for ", config.train.steps, " steps"),
             "rewind to a step before its last");
    }
    if (s.begins_again() && config.model.outliers > 0)
      refuse(i, "outliers are put into fp32 after its training", "model.outliers = 0");
    if (s.kind == PipelineStage::Kind::redraw && !config.model.from.empty())
      refuse(i, "how model.from was trained is not known and cannot be repeated", "rewind");
    if (s.kind != PipelineStage::Kind::layers) continue;
    blocks += s.count;
    if (blocks >= config.model.n_layer)
      refuse(i, str("the model has ", config.model.n_layer, " blocks"), "one stays at least");
  }
  const bool known = config.train.steps > 0 || config.qat.steps > 0;
  if (known && parts > qat_steps(config)) {
    origins.fail(key + ".pipeline",
                 {.what = str(parts, " stages share ", qat_steps(config), " steps of training"),
                  .hint = "raise qat.steps"});
  }
}

template <class Check>
void for_rows(const ExperimentConfig& config, const Check& check) {
  for (std::size_t i = 0; i < config.row.size(); ++i)
    if (!config.row[i].pipeline.empty()) check(config.row[i], str("row[", i, ']'));
}

}  // namespace

void check_pipelines(const ExperimentConfig& config, const Origins& origins) {
  for_rows(config,
           [&](const RowConfig& row, const std::string& key) { check_row(row, key, origins); });
}

void check_pipeline_settings(const ExperimentConfig& config, const Origins& origins) {
  for_rows(config, [&](const RowConfig& row, const std::string& key) {
    check_settings(config, row, key, origins);
  });
}

}  // namespace notch::experiments
