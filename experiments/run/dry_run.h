// Dry run: every row of a run on one window, before anything is trained.
//
// Values that are each in range may not work together, and some combinations are only noticed where
// they are used: in a training step, in rounding, packing, reading back, scoring or the task. So
// compare() itself makes the whole table of a small model first, in a folder that is removed. The
// small model has the run's blocks as far as they differ, its groups, grids and plan, and a width
// with the same divisors; what comes of it is forgotten, and no random stream of the run is used.
#pragma once

#include "experiments/run/setup.h"

namespace notch::experiments {

/// Throws what making a row throws, naming the row, at the line of the configuration that is to
/// blame where it is known. Says nothing, keeps nothing; a stop request ends it early.
void dry_run(const ExperimentConfig& config, const Data& data, const Origins& origins = {});

}  // namespace notch::experiments
