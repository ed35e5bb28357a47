#include "quant/serve/weight_only.h"

#include <utility>

#include "nn/layers.h"

namespace notch::quant {

WeightOnlyLayers::WeightOnlyLayers(nn::Model& model, std::map<const Param*, PackedMatrix> matrices)
    : matrices_(std::move(matrices)) {
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& layer, Var x, const auto& next) -> Var {
        const auto at = matrices_.find(layer.weight);
        if (at == matrices_.end()) return next(g, layer, x);
        return packed_product(x, layer.bias_in(g), at->second);
      });
  embedding_ = model.hooks().embedding_chain.attach([this](Graph& g, const nn::Embedding& table,
                                                           const nn::Tokens& tokens,
                                                           const auto& next) -> Var {
    const auto at = matrices_.find(table.weight);
    if (at == matrices_.end()) return next(g, table, tokens);
    return packed_lookup(g, tokens, at->second);
  });
}

std::int64_t WeightOnlyLayers::bytes() const {
  std::int64_t all = 0;
  for (const auto& [param, matrix] : matrices_) all += matrix.bytes();
  return all;
}

}  // namespace notch::quant
