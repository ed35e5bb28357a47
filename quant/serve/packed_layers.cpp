#include "quant/serve/packed_layers.h"

#include <optional>

#include "autograd/base/thread_pool.h"
#include "quant/serve/packed_ops.h"

namespace notch::quant {
namespace {

/// Rows of a quantized table for token ids [B, T] -> [B, T, C]. For inference: no gradient.
struct QuantizedEmbedding {
  static constexpr std::string_view name = "quantized_embedding";
  const IntegerMatrix* table;
  nn::Tokens tokens;

  Tensor forward(Forward& f) {
    const std::int64_t C = table->shape().K, V = table->shape().N;
    const Tensor y = f.out({tokens.B, tokens.T, C});
    for (const std::int32_t id : tokens.ids) {
      check(id >= 0 && id < V, name, "token ", id, " is not in a table of ", V);
    }
#ifdef NOTCH_DOUBLE
    check(false, name, "the double build multiplies no integers");
#else
    parallel_for(tokens.B * tokens.T, [&](std::int64_t t) {
      table->dequantize_row(
          y.flat().subspan(static_cast<std::size_t>(t * C), static_cast<std::size_t>(C)),
          tokens.ids[static_cast<std::size_t>(t)]);
    });
#endif
    return y;
  }
  void backward(Backward&) const { check(false, name, "a packed table cannot be trained"); }
};

PackedLayers::Layers layers_of(nn::Model& model, std::span<const NamedQTensor> tensors) {
  PackedLayers::Layers layers;
  for (const NamedQTensor& t : tensors) {
    if (!t.input) continue;
    const Param* weight = model.params().find(t.name);
    check(weight != nullptr, t.name, "the model has no such parameter");
    layers.try_emplace(weight, *t.input, t.q);
  }
  return layers;
}

}  // namespace

PackedLayers::PackedLayers(nn::Model& model, std::span<const NamedQTensor> tensors)
    : PackedLayers(model, layers_of(model, tensors)) {}

PackedLayers::PackedLayers(nn::Model& model, Layers layers) : layers_(std::move(layers)) {
  if (layers_.empty()) return;
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = layers_.find(linear.weight);
        if (at == layers_.end()) return next(g, linear, x);
        const std::optional<Var> bias = linear.bias_in(g);
        return packed_linear(x, bias, at->second.input, at->second.weights);
      });
  loss_ = model.hooks().loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                 const nn::LossTargets& wanted,
                                                 const auto& next) -> Var {
    const auto at = layers_.find(head.weight);
    if (at == layers_.end()) return next(g, head, x, wanted);
    check(!wanted.teacher, head.name, "a packed head is not distilled");
    const Var logits = packed_linear(x, {}, at->second.input, at->second.weights);
    return cross_entropy(logits, wanted.targets);
  });
  embedding_ = model.hooks().embedding_chain.attach([this](Graph& g, const nn::Embedding& table,
                                                           const nn::Tokens& tokens,
                                                           const auto& next) -> Var {
    const auto at = layers_.find(table.weight);
    if (at == layers_.end()) return next(g, table, tokens);
    return g.record(QuantizedEmbedding{&at->second.weights, tokens}, {});
  });
}

std::int64_t PackedLayers::bytes() const {
  std::int64_t all = 0;
  for (const auto& [param, layer] : layers_) all += layer.weights.bytes();
  return all;
}

}  // namespace notch::quant
