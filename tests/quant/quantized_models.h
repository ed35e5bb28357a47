// Small models on integers, and what a test wants to know of their directories.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "quant/store/model_files.h"
#include "tests/quant/tiny_models.h"

namespace notch::test {

/// QLoRA's numbers: NF4 with double-quantized scales.
inline quant::Spec nested_nf4(int group_size) {
  return {.bits = 4,
          .grid = quant::GridKind::nf4,
          .granularity = quant::Granularity::group,
          .group_size = group_size,
          .scale = quant::ScaleType::nested};
}

inline nn::GptConfig config_of(bool tied, bool bias) {
  nn::GptConfig config = tiny_config();
  config.tie_embeddings = tied;
  config.bias = bias;
  return config;
}

/// The model quantized by `plan`: its parameters are the dequantized weights.
inline quant::Quantized rounded(nn::Model& model, const quant::Plan& plan) {
  return quant::post_training(model, quant::method("rtn-mse"), quant::resolve(plan, model), {}, {});
}

/// A plan that spreads `specs` over the matrices of a model, one each.
inline quant::Plan spread(nn::Model& model, std::span<const quant::Spec> specs) {
  quant::Plan plan{.rules = {{"*", {}}}};
  std::size_t i = 0;
  const auto add = [&](const std::string& name) {
    if (i < specs.size()) plan.rules.push_back({name, specs[i++]});
  };
  for (const nn::Linear* l : model.linears()) add(l->name);
  for (const nn::Embedding* e : model.embeddings()) add(e->name);
  return plan;
}

inline std::vector<real> logits(nn::Model& model) { return logits_of(model, Text(1)); }

inline std::int64_t tensor_bytes(const fs::path& dir) {
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  std::int64_t sum = 0;
  for (const nn::TensorEntry& e : file.entries()) sum += static_cast<std::int64_t>(e.bytes);
  return sum;
}

inline Json config_json(const fs::path& dir) {
  return Json::parse(read_file(dir / nn::kConfigFile), "config.json");
}

}  // namespace notch::test
