#include "quant/serve/served_layers.h"

#include <algorithm>
#include <utility>

#include "autograd/base/error.h"
#include "nn/layers.h"

namespace notch::quant {
namespace {

ServedLayers::Matrices with_inputs(nn::Model& model, std::span<const NamedQTensor> tensors) {
  ServedLayers::Matrices matrices;
  for (const NamedQTensor& t : tensors) {
    if (!t.input) continue;
    const Param* weight = model.params().find(t.name);
    check(weight != nullptr, t.name, "the model has no such parameter");
    matrices.try_emplace(weight, t.q, t.input);
  }
  return matrices;
}

}  // namespace

ServedLayers::ServedLayers(nn::Model& model, std::span<const NamedQTensor> tensors)
    : ServedLayers(model, with_inputs(model, tensors)) {}

ServedLayers::ServedLayers(nn::Model& model, Matrices matrices) : matrices_(std::move(matrices)) {
  if (matrices_.empty()) return;
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& layer, Var x, const auto& next) -> Var {
        const auto at = matrices_.find(layer.weight);
        if (at == matrices_.end()) return next(g, layer, x);
        return served_product(x, layer.bias_in(g), at->second);
      });
  loss_ = model.hooks().loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                 const nn::LossTargets& wanted,
                                                 const auto& next) -> Var {
    const auto at = matrices_.find(head.weight);
    if (at == matrices_.end()) return next(g, head, x, wanted);
    check(!wanted.teacher, head.name, "a served head is not distilled");
    return cross_entropy(served_product(x, {}, at->second), wanted.targets);
  });
  embedding_ = model.hooks().embedding_chain.attach([this](Graph& g, const nn::Embedding& table,
                                                           const nn::Tokens& tokens,
                                                           const auto& next) -> Var {
    const auto at = matrices_.find(table.weight);
    if (at == matrices_.end()) return next(g, table, tokens);
    return served_lookup(g, tokens, at->second);
  });
}

int ServedLayers::products() const {
  const auto weights = [](const Matrices::value_type& m) {
    return m.second.rows() * m.second.cols();
  };
  const auto largest = std::ranges::max_element(matrices_, {}, weights);
  return largest == matrices_.end() ? 0 : largest->second.products();
}

std::int64_t ServedLayers::bytes() const {
  std::int64_t all = 0;
  for (const auto& [param, matrix] : matrices_) all += matrix.bytes();
  return all;
}

}  // namespace notch::quant
