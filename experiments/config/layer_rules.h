// Rules for layers by name, {pattern, bits, activations}, of which later ones win.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "experiments/config/config_schema.h"
#include "nn/model.h"

namespace notch::experiments {

/// A rule whose every layer a later one takes.
struct DeadRule {
  std::size_t rule = 0;
  std::size_t by = 0;  ///< the first later one that takes some of its layers
};
/// The first such rule. One that names no layer of the model is none: quant::resolve refuses it.
std::optional<DeadRule> dead_rule(const std::vector<LayerRule>& rules, nn::Model& model);

}  // namespace notch::experiments
