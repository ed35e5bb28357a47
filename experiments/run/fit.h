// Fit: a training phase of a run, with its progress, metrics and checkpoints.
#pragma once

#include <cstdint>

#include "experiments/run/results.h"
#include "experiments/train/training_phase.h"

namespace notch::experiments {

struct RunContext;

/// Trains on the run's text; `parts` needs no more than the model and what takes part beside it. Adds
/// the time to the row. False when a stop was requested: a checkpoint holds the state.
bool fit(const RunContext& run, std::int64_t seed, const TrainSettings& settings, TrainParts parts,
         RowResult& row);

}  // namespace notch::experiments
