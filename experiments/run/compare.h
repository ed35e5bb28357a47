// Compare: every row of the table for one seed, from the same fp32 checkpoint to scored artefacts.
//
// Order: fp32 is trained; the controls train on; then every planned row is made from fp32 and, for
// post-training methods, from controls as well (experiments/run/row_facts.h). Each artefact is written to
// models/<row>-seed<N>, read back, and scored on what was read. What an interrupted run finished is
// not done again.
//
// experiments/run/ makes the rows of a run, keeps and scores them.
// May include: experiments/train, experiments/config, experiments/show, experiments/machine, quant,
// optim, nn, data, autograd.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "experiments/run/results.h"
#include "experiments/run/run_dir.h"
#include "experiments/run/run_time.h"
#include "experiments/run/setup.h"
#include "experiments/run/shard.h"
#include "experiments/show/progress.h"

namespace notch::experiments {

/// What all seeds of a run share.
struct RunContext {
  const ExperimentConfig& config;
  const Data& data;
  const RunDir& dir;
  Progress& progress;
  bool profile = false;     ///< tell after each training phase where its time went
  RunTime* time = nullptr;  ///< told of every row, for the progress; may be null
  Shard shard{};            ///< the part of the run that is made
};

/// Trains (or finishes, or finds) the fp32 model of a seed and scores it. Nothing when a stop was
/// requested: the state is in a checkpoint.
std::optional<RowResult> train_base(const RunContext& run, std::int64_t seed);

/// All rows of a seed that are the shard's, fp32 first. Nothing when a stop was requested.
std::optional<SeedResults> compare(const RunContext& run, std::int64_t seed);

}  // namespace notch::experiments
