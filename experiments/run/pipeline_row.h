// A row that is made by a pipeline (experiments/config/pipeline.h): stage after stage on one model.
//
// Only what trains takes long; its checkpoints are kept until the row is written, in phases
// "<row>-stage<N>", N from 1. A resumed row makes what lies between anew, which gives the same.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "autograd/base/json.h"
#include "experiments/config/pipeline.h"
#include "experiments/run/results.h"
#include "experiments/train/training_phase.h"
#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"

namespace notch::experiments {

struct RunContext;

/// What the run does for all its rows, and for a pipeline stage by stage.
struct RowTools {
  /// Rounds after training with the options of a configuration, or with no method prunes alone.
  std::function<quant::Quantized(const ExperimentConfig&, const quant::Method*, const quant::Plan&,
                                 nn::Model&)>
      round{};
  /// Trains through rounding under masks, on the grids of integers where there are some; nothing when
  /// a stop was requested.
  std::function<std::optional<quant::Quantized>(const quant::Method&, const quant::Plan&,
                                                const TrainSettings&, nn::Model&,
                                                const quant::Quantized*,
                                                std::span<const quant::NamedMask>)>
      train{};
};

struct PipelineModel {
  std::unique_ptr<nn::Model> model{};
  quant::Quantized quantized{};  ///< integers and masks; without integers the model is what ships
  std::vector<std::string>
      done{};  ///< by stage, what its words leave open: "48 of 64 channels stay"
};

/// `first` after all stages of the row, whose configuration `config` is; nothing when a stop was
/// requested on the way. "distill" learns from `teacher`. Adds to the time of `result`. Throws as the
/// stages do.
std::optional<PipelineModel> run_pipeline(const RunContext& run, std::int64_t seed,
                                          const ExperimentConfig& config, const RowConfig& row,
                                          const nn::Model& first, nn::Model* teacher,
                                          const RowTools& tools, RowResult& result);

/// row_plan; of a row without integers (bits = 0), which has no spec, the plan whose layers are what can
/// be pruned: 8 bits per channel, which fit every matrix. The table is that of 8 bits on the row's grid,
/// or on the narrow one where that has none: pruners with statistics walk the text through it.
quant::Plan layers_plan(const ExperimentConfig& config, RowConfig row);

/// The model that the stages leave, without values; where ranks follow from values, in the smallest factors.
/// Usage error for a pattern that does not divide a layer's inputs, for a share that rounds to nothing and
/// for one that no factors reach.
std::unique_ptr<nn::Model> shapes_after(const ExperimentConfig& config, const RowConfig& row,
                                        nn::Model& shapes);

/// Of all stages together, which the row's control has too; fp32's where they begin it again.
TrainSettings pipeline_settings(const ExperimentConfig& config, std::uint64_t seed,
                                std::span<const PipelineStage> stages, std::string phase);

/// "prune 2:4, distill (60 steps), gptq 4; 60 steps of training".
std::string describe_pipeline(const ExperimentConfig& config, const RowConfig& row);
/// For config.json: [{"stage": "distill", "steps": 60}, …], with what PipelineModel::done says of each.
Json pipeline_json(const ExperimentConfig& config, const RowConfig& row,
                   std::span<const std::string> done);

}  // namespace notch::experiments
