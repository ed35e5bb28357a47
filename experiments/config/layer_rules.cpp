#include "experiments/config/layer_rules.h"

#include <algorithm>
#include <string>

#include "quant/methods/plan.h"

namespace notch::experiments {
namespace {

/// The names of every matrix that rules are for; a tied table answers to both of its.
std::vector<std::vector<std::string>> names_of_matrices(nn::Model& model) {
  std::vector<std::vector<std::string>> all;
  for (const nn::Linear* l : model.linears()) all.push_back({l->name});
  const nn::Linear& head = model.head();
  if (!model.head_is_tied()) all.push_back({head.name});
  for (const nn::Embedding* e : model.embeddings()) {
    all.push_back({e->name});
    if (e->weight == head.weight) all.back().push_back(head.name);
  }
  return all;
}

bool names(const LayerRule& rule, const std::vector<std::string>& matrix) {
  return std::ranges::any_of(
      matrix, [&](const std::string& name) { return quant::matches(rule.pattern, name); });
}

}  // namespace

std::optional<DeadRule> dead_rule(const std::vector<LayerRule>& rules, nn::Model& model) {
  const auto matrices = names_of_matrices(model);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    bool lives = false;
    std::size_t by = i;
    for (const std::vector<std::string>& matrix : matrices) {
      if (!names(rules[i], matrix)) continue;
      bool bits = true, activations = rules[i].activations >= 0;
      for (std::size_t later = i + 1; later < rules.size(); ++later) {
        if (!names(rules[later], matrix)) continue;
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
