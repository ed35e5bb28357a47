// Pipelines: what is done to a model in order, as the words of a row.
//
//   prune 2:4 | 50% [BY]  half of the weights, or a share, become zero: by magnitude, wanda, sparsegpt (default)
//   prune heads 25%       this share of the heads is taken out, with the queries that share one (nn/heads.h)
//   prune neurons 25%     this share of the channels inside the MLPs is taken out (nn/narrow.h)
//   prune layers 1        so many blocks are taken out (nn/shallow.h)
//   svd 90% | bytes 50% [BY]  matrices become products of two smaller ones that hold this share of their energy,
//                         or take this share of their bytes: whitened by text (default) or plain
//                         (quant/methods/factored.h)
//   train [50%]           in floating point, on labels; pruned weights stay zero
//   distill [50%]         the same from fp32's outputs, with [distill]
//   rewind [K] | redraw   weights of step K (0) of fp32's training, or drawn anew; the next stage trains them
//   METHOD BITS [50%]     rounds, trains through rounding or beside codes: gptq 4, qat-lsq 4, qlora 4
//
// Each stage begins with what the last one left; efficient-qat and qlora where nothing was rounded with
// the codes of block-ap and rtn. The row has the settings of its sections in all stages.
// Those that train share the steps of [qat], as their percents say or evenly: they are parts of one
// schedule, so the row sees the control's text in the control's order at its learning rates. After
// rewind and redraw a stage has fp32's whole training again instead (from step K), and fp32 is what the
// row is compared with (Frankle and Carbin 2019, arXiv:1803.03635; K > 0: Frankle et al. 2019,
// arXiv:1903.01611). What ends in floating point is stored in half precision.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/config.h"
#include "quant/methods/factored.h"
#include "quant/methods/method.h"
#include "quant/methods/prune.h"

namespace notch::experiments {

struct PipelineStage {
  enum class Kind : std::uint8_t {
    prune,
    heads,
    neurons,
    layers,
    svd,
    train,
    distill,
    rewind,
    redraw,
    round
  };
  Kind kind = Kind::prune;
  std::string text{};                     ///< as it was written
  quant::PruneOptions prune{};            ///< prune: its method, pattern and sparsity
  quant::FactorOptions svd{};             ///< svd, but for the unit
  double share = 0;  ///< heads, neurons: that go; training: of the row's steps, 0: not said
  std::int64_t count = 0;                 ///< layers: that go; rewind: the step
  const quant::Method* method = nullptr;  ///< round
  int bits = 0;                           ///< round

  bool trains() const;
  bool has_teacher() const;
  /// Whether its model has other matrices than the one before.
  bool resizes() const;
  /// Whether it looks at calibration text, whatever rounds.
  bool reads_text() const;
  /// Whether fp32's training begins again after it.
  bool begins_again() const { return kind == Kind::rewind || kind == Kind::redraw; }
};

/// How each stage is written: "prune N:M|50% [magnitude|…], …, METHOD BITS".
const std::string& stage_forms();

/// The words of a row. Throws Fault::usage, field = "pipeline[i]", for an unknown stage and for an order
/// that cannot be, which says what would do.
std::vector<PipelineStage> parse_pipeline(std::span<const std::string> words);

/// Throws as parse_pipeline does for an order that cannot be.
void check_order(std::span<const PipelineStage> stages);

/// Whether stage `i` trains what was rewound or drawn anew.
bool trains_again(std::span<const PipelineStage> stages, std::size_t i);

/// The updates [first, last) of a schedule of `steps` that a stage makes, one at least.
struct StepRange {
  std::int64_t first = 0, last = 0;
  std::int64_t size() const { return last - first; }
};
/// Of every stage, none for those that do not train; of fp32's schedule for a rewind, which makes its
/// first steps once more, and for what trains again.
std::vector<StepRange> step_ranges(std::span<const PipelineStage> stages, std::int64_t steps,
                                   std::int64_t base_steps);

/// Channels that are left of `inner`: the nearest multiple of a row's groups and of 32, of a smaller power
/// of two where `inner` would have less than eight of those; some stay. All do where a share rounds to
/// nothing, which whoever asks refuses.
std::int64_t channels_left(std::int64_t inner, double gone, std::int64_t group);
/// Heads of keys that are left of `heads`, each of which has `channels` with its queries': likewise, the
/// nearest number whose channels the groups divide.
std::int64_t heads_left(std::int64_t heads, std::int64_t channels, double gone, std::int64_t group);
/// What ranks of a row are multiples of: its groups, and the 8 columns that kernels and patterns take at once.
std::int64_t rank_unit(std::int64_t group);

/// Gives rows with a pipeline the method and the width that its last integers have ("fp16" without) and,
/// where they have none, a label of its words. A pipeline that does not read changes nothing.
void imply_pipelines(std::vector<RowConfig>& rows);

/// Throws Fault::usage at the row's line for what parse_pipeline refuses and for a method or width of
/// its own; `settings` as well for sections of the row, of the model and of training that rule it out.
void check_pipelines(const ExperimentConfig& config, const Origins& origins);
void check_pipeline_settings(const ExperimentConfig& config, const Origins& origins);

}  // namespace notch::experiments
