// Mixed precision in a run and in `notch quantize`: text to weigh the layers on, what was weighed kept
// in a file, and the plan that follows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "experiments/config/config.h"
#include "quant/methods/mixed.h"

namespace notch::experiments {

/// Whether a row of this method gets widths that differ: mixed.widths, and it rounds after training.
bool mixes(const ExperimentConfig& config, const quant::Method& method);

struct MixedPlan {
  quant::Plan plan{};
  quant::Mixed mixed{};
  /// Bytes of the file that are not those of layers that vary; 0 where weights are pruned, which tells
  /// only afterwards.
  std::int64_t fixed = 0;
};

/// `plan` with a rule for each layer. The layers are weighed on mixed.windows of `train`, drawn apart from
/// the calibration text. `kept`: a SensitivityList, so that an interrupted measurement goes on; "" keeps
/// nothing. `goal` needs no functions: the file is counted as it will be written, and a rise measured on the
/// same windows, of the whole model as it will be run. Throws as quant::mix.
MixedPlan mixed_plan(const ExperimentConfig& config, const quant::Method& method,
                     const quant::Plan& plan, nn::Model& model,
                     std::span<const nn::Tokens> calibration, std::span<const std::int32_t> train,
                     std::uint64_t seed, const std::filesystem::path& kept,
                     quant::MixedGoal goal = {});

/// For quantization_config: widths, rule, bytes, what was foretold, and what was measured of it.
Json to_json(const quant::Mixed& mixed, const quant::MixedOptions& options);

/// "13 layers at 2 to 8 bits, 38400 of 38912 bytes, …": of the file where there was a target in bytes,
/// else of the layers that vary.
std::string describe(const MixedPlan& plan);

}  // namespace notch::experiments
