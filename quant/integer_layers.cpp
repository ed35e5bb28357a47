#include "quant/integer_layers.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

IntegerShape shape_of(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  return {.N = rows,
          .K = cols,
          .group = spec.granularity == Granularity::group ? spec.group_size : 0,
          .zero_points = has_zero_points(spec)};
}

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

std::optional<Var> bias_of(Graph& g, const nn::Linear& layer) {
  return layer.bias ? std::optional(g.param(*layer.bias)) : std::nullopt;
}

}  // namespace

// ---- in training ----

TrainedInputs::TrainedInputs(nn::ModelView& model, std::span<const Target> targets,
                             InputLearning learning, Ste ste, ParamStore& params)
    : learning_(learning), ste_(ste) {
  for (const Target& t : targets) {
    if (!t.input || !t.linear) continue;
    const bool fixed = t.input->spec.range == ActivationRange::fixed;
    check(!fixed || t.input->at.scale > 0, t.name, "its static input range is not calibrated");
    Layer& layer = layers_[t.weight];
    layer.input = *t.input;
    layer.weights = shape_of(t.spec, t.weight->value.rows(), t.weight->value.cols());
    validate(layer.weights, t.name.c_str());
    if (learning == InputLearning::fixed || !fixed) continue;
    layer.log_scale = &params.add(t.weight->name + ".input_log_scale", {1});
    if (!t.input->spec.symmetric) {
      layer.offset = &params.add(t.weight->name + ".input_offset", {1});
    }
    params.allocate_values();  // log_scale is 0: the calibrated scale
    if (layer.offset) {
      const int below = grid_of(unit_spec(t.input->spec)).qmin - t.input->at.zero_point;
      layer.offset->value.data[0] = static_cast<real>(below) * t.input->at.scale;
    }
  }
  if (layers_.empty()) return;
  linear_ = model.hooks->linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = layers_.find(linear.weight);
        if (!active_ || at == layers_.end()) return next(g, linear, x);
        const Var w = linear.hooks->weight(g, *linear.weight);
        const std::optional<Var> bias = bias_of(g, linear);
        const StepInput how = step_input(g, at->second);
        const std::optional<PackedWeights> integers = packed(g, *linear.weight);
        return quantized_linear(x, w, bias, how, integers ? &*integers : nullptr);
      });
  loss_ = model.hooks->loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                const nn::LossTargets& wanted,
                                                const auto& next) -> Var {
    const auto at = layers_.find(head.weight);
    if (!active_ || at == layers_.end()) return next(g, head, x, wanted);
    return loss(g, head, x, wanted, at->second);
  });
}

StepInput TrainedInputs::step_input(Graph& g, const Layer& layer) const {
  StepInput how{
      .input = layer.input, .clipping_only = learning_ == InputLearning::pact, .ste = ste_};
  if (layer.log_scale) how.log_scale = g.param(*layer.log_scale);
  if (layer.offset) how.offset = g.param(*layer.offset);
  return how;
}

Var TrainedInputs::loss(Graph& g, const nn::Linear& head, Var x, const nn::LossTargets& wanted,
                        const Layer& layer) const {
  const Var w = head.hooks->weight(g, *head.weight);
  const StepInput how = step_input(g, layer);
  const Var rounded = quantize_input(x, how);
  const std::optional<PackedWeights> integers = packed(g, *head.weight);
  if (!integers) return head_loss(rounded, w, wanted.targets, wanted.teacher);
  struct Product {
    Graph& graph;
    const PackedWeights& weights;
    InputQuantizer input;
    Tensor x;
  };
  const Product product{g, *integers, layer.present(), x.value()};
  const auto logits = [](const void* self, std::span<real> out, std::int64_t first,
                         std::int64_t n) {
    const auto& [graph, weights, input, in] = *static_cast<const Product*>(self);
    const std::size_t bytes = static_cast<std::size_t>(n) * packed_row_bytes(weights.shape);
    const std::span<std::byte> codes = graph.memory(&weights, self, bytes);
    packed_rows(out, in, input, weights, codes, first, n);
  };
  return head_loss(rounded, w, wanted.targets, wanted.teacher, {logits, &product});
}

InputQuantizer TrainedInputs::Layer::present() const {
  if (!log_scale) return input;
  const std::optional<real> low = offset ? std::optional(offset->value.data[0]) : std::nullopt;
  return {.spec = input.spec, .at = range_of(input, log_scale->value.data[0], low)};
}

void TrainedInputs::add_decay(double decay) {
  if (learning_ != InputLearning::pact) return;
  for (auto& [weight, layer] : layers_) {
    if (!layer.log_scale) continue;
    // α = low + s · codes, low 0 if symmetric: d(λ α²)/dl = 2 λ α · s · codes
    const Grid grid = grid_of(unit_spec(layer.input.spec));
    const double low = layer.offset ? static_cast<double>(layer.offset->value.data[0]) : 0;
    const double width = static_cast<double>(layer.input.at.scale) *
                         std::exp(static_cast<double>(layer.log_scale->value.data[0])) *
                         (layer.offset ? grid.qmax - grid.qmin : grid.qmax);
    layer.log_scale->grad.data[0] += static_cast<real>(2 * decay * (low + width) * width);
  }
}

std::optional<PackedWeights> TrainedInputs::packed(Graph& g, const Param& weight) const {
#ifdef NOTCH_DOUBLE
  static_cast<void>(g), static_cast<void>(weight);
  return std::nullopt;
#else
  const auto at = layers_.find(&weight);
  if (at == layers_.end()) return std::nullopt;
  const IntegerShape& shape = at->second.weights;
  return lay_out(shape, g.memory(this, &weight, static_cast<std::size_t>(packed_bytes(shape))));
#endif
}

void TrainedInputs::add_state(std::vector<NamedValues>& all) {
  for (auto& [weight, layer] : layers_) {
    if (layer.log_scale) all.push_back({weight->name + ".input_scale", {&layer.input.at.scale, 1}});
  }
}

std::optional<InputQuantizer> TrainedInputs::input_of(const Param& weight) const {
  const auto at = layers_.find(&weight);
  return at == layers_.end() ? std::nullopt : std::optional(at->second.present());
}

// ---- loaded ----

namespace {

PackedLayers::Layers layers_of(const nn::ModelView& model, std::span<const NamedQTensor> tensors) {
  PackedLayers::Layers layers;
  for (const NamedQTensor& t : tensors) {
    if (!t.input) continue;
    const Param* weight = model.params->find(t.name);
    check(weight != nullptr, t.name, "the model has no such parameter");
    layers.try_emplace(weight, *t.input, t.q);
  }
  return layers;
}

}  // namespace

PackedLayers::PackedLayers(nn::ModelView& model, std::span<const NamedQTensor> tensors)
    : PackedLayers(model, layers_of(model, tensors)) {}

PackedLayers::PackedLayers(nn::ModelView& model, Layers layers) : layers_(std::move(layers)) {
  if (layers_.empty()) return;
  linear_ = model.hooks->linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = layers_.find(linear.weight);
        if (at == layers_.end()) return next(g, linear, x);
        const std::optional<Var> bias = bias_of(g, linear);
        return packed_linear(x, bias, at->second.input, at->second.weights);
      });
  loss_ = model.hooks->loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                const nn::LossTargets& wanted,
                                                const auto& next) -> Var {
    const auto at = layers_.find(head.weight);
    if (at == layers_.end()) return next(g, head, x, wanted);
    check(!wanted.teacher, head.name, "a packed head is not distilled");
    const Var logits = packed_linear(x, {}, at->second.input, at->second.weights);
    return cross_entropy(logits, wanted.targets);
  });
  embedding_ = model.hooks->embedding_chain.attach([this](Graph& g, const nn::Embedding& table,
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
