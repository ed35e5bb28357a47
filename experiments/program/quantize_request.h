// What notch quantize is asked for: its flags, and the row of an experiment that they and keys make.
#pragma once

#include <vector>

#include "experiments/config/config.h"
#include "experiments/program/args.h"
#include "quant/methods/mixed.h"

namespace notch::experiments {

std::vector<Flag> quantize_flags();

struct QuantizeRequest {
  const quant::Method& method;
  RowConfig row{};
  ExperimentConfig config{};          ///< of the row
  std::vector<Override> overrides{};  ///< keys of the command line
  quant::MixedGoal goal{};            ///< of widths by layer
};

/// Throws Fault::usage for what is missing or unknown, contradicts itself or has no effect.
QuantizeRequest quantize_request(const Args& args);

}  // namespace notch::experiments
