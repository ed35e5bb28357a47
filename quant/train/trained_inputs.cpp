#include "quant/train/trained_inputs.h"

#include <cmath>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "quant/kernels/quantize_rows.h"
#include "quant/methods/targets.h"

namespace notch::quant {
namespace {

IntegerShape shape_of(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  return {.N = rows,
          .K = cols,
          .group = spec.granularity == Granularity::group ? spec.group_size : 0,
          .zero_points = has_zero_points(spec)};
}

/// Bytes that product_rows wants for a row's codes.
std::size_t row_bytes(const IntegerShape& shape) {
  const std::int64_t sums = shape.needs_sums() ? shape.units() : 0;
  return static_cast<std::size_t>(4 + 4 * sums + shape.row_codes() + 1);
}

/// Rows [first, first + n) of x̂ ŵᵀ into `out` [n, N], bit for bit quantized_linear's, for head_loss.
/// `codes` starts at a multiple of 4.
void product_rows(std::span<real> out, const Tensor& x, const InputQuantizer& input,
                  const PackedWeights& packed, std::span<std::byte> codes, std::int64_t first,
                  std::int64_t n) {
#ifdef NOTCH_DOUBLE
  static_cast<void>(out), static_cast<void>(x), static_cast<void>(input);
  static_cast<void>(packed), static_cast<void>(codes), static_cast<void>(first);
  static_cast<void>(n);
  check(false, "head_loss", "the double build multiplies no integers");
#else
  const std::int64_t row_codes = packed.shape.row_codes(), K = x.cols();
  const std::int64_t sums = packed.shape.needs_sums() ? n * packed.shape.units() : 0;
  auto* const bytes = reinterpret_cast<std::uint8_t*>(codes.data());
  auto* const first_code = bytes + 4 * (n + sums);
  const auto rows = static_cast<std::size_t>(n);
  const ActivationCodes part{
      {first_code, static_cast<std::size_t>(n * row_codes)},
      {reinterpret_cast<float*>(bytes), rows},
      {first_code + n * row_codes, rows},
      {reinterpret_cast<std::int32_t*>(bytes + 4 * n), static_cast<std::size_t>(sums)}};
  const std::span<const real> in =
      x.flat().subspan(static_cast<std::size_t>(first * K), static_cast<std::size_t>(n * K));
  quantize_rows(part, {}, in, n, packed.shape, row_grid(input.spec, input.at));
  integer_linear(out, part, packed, {}, n);
#endif
}

}  // namespace

TrainedInputs::TrainedInputs(nn::Model& model, std::span<const Target> targets,
                             InputLearning learning, Ste ste, InputBackward backward,
                             ParamStore& params)
    : learning_(learning), ste_(ste), backward_(backward) {
  require_targets(model, targets, Weights::of_shape);
  for (const Target& t : targets) {
    if (!t.input || !t.linear) continue;
    const bool fixed = t.input->spec.range == ActivationRange::fixed;
    check(!fixed || t.input->at.scale > 0, t.name, "its static input range is not calibrated");
    Layer& layer = layers_[t.weight];
    layer.input = *t.input;
    layer.weights = shape_of(t.spec, t.weight->value.rows(), t.weight->value.cols());
    if (t.input->spec.is_integer()) validate(layer.weights, t.name.c_str());
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
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = layers_.find(linear.weight);
        if (!active_ || at == layers_.end()) return next(g, linear, x);
        if (!at->second.input.spec.is_integer())
          return next(g, linear, quantize_input(x, step_input(g, at->second)));
        const Var w = linear.hooks->weight(g, *linear.weight);
        const std::optional<Var> bias = linear.bias_in(g);
        const StepInput how = step_input(g, at->second);
        const std::optional<PackedWeights> integers = packed(g, *linear.weight);
        return quantized_linear(x, w, bias, how, integers ? &*integers : nullptr);
      });
  loss_ = model.hooks().loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                 const nn::LossTargets& wanted,
                                                 const auto& next) -> Var {
    const auto at = layers_.find(head.weight);
    if (!active_ || at == layers_.end()) return next(g, head, x, wanted);
    return loss(g, head, x, wanted, at->second);
  });
}

StepInput TrainedInputs::step_input(Graph& g, const Layer& layer) const {
  StepInput how{.input = layer.input,
                .clipping_only = learning_ == InputLearning::pact,
                .ste = ste_,
                .integer_backward = backward_ == InputBackward::int8};
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
    const std::size_t bytes = static_cast<std::size_t>(n) * row_bytes(weights.shape);
    const std::span<std::byte> codes = graph.memory(&weights, self, bytes);
    product_rows(out, in, input, weights, codes, first, n);
  };
  return head_loss(rounded, w, wanted.targets, wanted.teacher, {logits, &product});
}

InputQuantizer TrainedInputs::Layer::present() const {
  if (!log_scale) return input;
  const std::optional<real> low = offset ? std::optional(offset->value.data[0]) : std::nullopt;
  return {.spec = input.spec, .at = range_of(input, log_scale->value.data[0], low)};
}

void TrainedInputs::add_decay(double decay) {
  check(decay >= 0 && std::isfinite(decay), "pact", "a decay of ", decay);
  if (learning_ != InputLearning::pact) return;
  for (auto& [weight, layer] : layers_) {
    if (!layer.log_scale) continue;
    // α = low + s · codes, low 0 if symmetric: d(λ α²)/dl = 2 λ α · s · codes
    const Grid grid = grid_of(unit_spec(layer.input.spec));
    const double low = layer.offset ? static_cast<double>(layer.offset->value.data[0]) : 0;
    const double width = static_cast<double>(layer.input.at.scale) *
                         elementary::exp(static_cast<double>(layer.log_scale->value.data[0])) *
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
  if (at == layers_.end() || !at->second.input.spec.is_integer()) return std::nullopt;
  const IntegerShape& shape = at->second.weights;
  return lay_out(shape, g.memory(this, &weight, static_cast<std::size_t>(packed_bytes(shape))));
#endif
}

void TrainedInputs::add_state(std::vector<nn::NamedValues>& all) {
  for (auto& [weight, layer] : layers_) {
    if (layer.log_scale) all.push_back({weight->name + ".input_scale", {&layer.input.at.scale, 1}});
  }
}

std::optional<InputQuantizer> TrainedInputs::input_of(const Param& weight) const {
  const auto at = layers_.find(&weight);
  return at == layers_.end() ? std::nullopt : std::optional(at->second.present());
}

}  // namespace notch::quant
