// What is known of a row before it is made: its name, its numbers, and what it is compared with.
//
// A row that is trained has seen more text than fp32. One that learns from labels aims at the data:
// what its steps alone would give is told by a control, fp32 trained on alike (learning rate, its
// course, weight decay, averages) without a quantizer. Rows of one setting share one control. A row
// that learns from nothing but fp32's outputs aims at fp32; one from scratch has seen as much text
// as fp32, which is its control.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/run/results.h"
#include "experiments/train/training_phase.h"

namespace notch::experiments {

/// "gptq-int4"; granularity and grid are added where they are not the experiment's for the width.
std::string row_name(const ExperimentConfig& config, const RowConfig& row);

/// The rows of a method at the configuration's widths, whatever rows it has itself.
std::vector<RowConfig> rows_of_method(ExperimentConfig config, const std::string& method);

/// Everything of the row that follows from the configuration; the rest is empty.
RowResult planned_result(const ExperimentConfig& config, const RowConfig& row);

struct Control {
  std::string name{};  ///< "fp32-continue", "fp32-continue-lr=0.0005"
  TrainSettings settings{};
};

/// The controls of a run: its own setting first, whether a row has it or not, then those of its
/// rows in order. None without quant.control.
std::vector<Control> controls(const ExperimentConfig& config, std::uint64_t seed);
RowResult planned_result(const Control& control);

/// A post-training row is made from fp32 and once more from the control of every trained row of its
/// width, so that each of those finds its counterpart and none is chosen for the row; where no row
/// is trained, from the run's own.
std::vector<RowResult> of_controls(const ExperimentConfig& config, const RowResult& row);

/// What is known beforehand of all rows of a seed, in the order in which they are made; and their
/// names.
std::vector<RowResult> planned_results(const ExperimentConfig& config);
/// Gives a row that was made what its plan says now: an earlier build may have compared it with
/// another row, or kept a label as its method.
void follow_plan(RowResult& made, const RowResult& planned);
std::vector<std::string> all_row_names(const ExperimentConfig& config);

/// Adds the share of zeros among the weights of pruned matrices to the row's figures.
void note_pruned(const quant::Quantized& quantized, RowResult& row);

/// The rows that were trained and of which metrics.jsonl, whose text this is, has no line any more: "fp32,
/// qat-ste-int4 of seed 2"; "" where all have. fp32 counts where the run has trained it.
std::string rows_without_curve(const ExperimentConfig& config,
                               const std::vector<SeedResults>& seeds, std::string_view metrics);

/// The row that trains in a phase: of "qat-lsq-int4-before" and "x-int4-stage2" what is before that.
std::string row_of_phase(const std::string& phase);

}  // namespace notch::experiments
