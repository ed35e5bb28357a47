// A model that others learn from: distill.teacher, of any size and architecture.
#pragma once

#include <memory>

#include "data/tokenizer.h"
#include "experiments/config/config.h"
#include "experiments/train/training_phase.h"
#include "nn/model.h"

namespace notch::experiments {

/// Throws Fault::input for a distill.teacher that cannot teach: its outputs are of other tokens than the
/// run's, its context is shorter, or hidden states are compared and it has others.
void require_teacher(const ExperimentConfig& config, const data::Tokenizer& tokenizer);

/// The model distill.teacher; null without one. Throws as nn::load_model.
std::unique_ptr<nn::Model> load_teacher(const ExperimentConfig& config);

/// Parts of a training that learns from `teacher` as [distill] says, from nobody if it is null.
TrainParts taught(TrainParts parts, const DistillConfig& how, nn::Model* teacher);

}  // namespace notch::experiments
