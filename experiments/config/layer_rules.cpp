#include "experiments/config/layer_rules.h"

#include "quant/methods/plan.h"

namespace notch::experiments {

std::optional<DeadRule> dead_rule(const std::vector<LayerRule>& rules, nn::Model& model) {
  const std::vector<quant::Target> matrices = quant::matrices_of(model);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    bool lives = false;
    std::size_t by = i;
    for (const quant::Target& matrix : matrices) {
      if (!quant::is_named(matrix, rules[i].pattern)) continue;
      bool bits = true, activations = rules[i].activations >= 0;
      for (std::size_t later = i + 1; later < rules.size(); ++later) {
        if (!quant::is_named(matrix, rules[later].pattern)) continue;
        bits = false;
        if (rules[later].activations >= 0) activations = false;
        if (by == i) by = later;
      }
      lives = lives || bits || activations;
    }
    if (!lives && by != i) return DeadRule{i, by};
  }
  return std::nullopt;
}

}  // namespace notch::experiments
