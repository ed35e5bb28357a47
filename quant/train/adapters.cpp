#include "quant/train/adapters.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "quant/methods/side_rank.h"
#include "quant/methods/targets.h"
#include "quant/numbers/find_named.h"
#include "quant/ops/half_rounded.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

bool is_position(nn::Model& model, const Param& p) {
  const nn::Embedding* positions = model.position_table();
  return positions && positions->weight == &p;
}

/// The factors as they ship.
std::vector<real> stored(const Param& p, double factor) {
  std::vector<real> out;
  for (const real v : p.value.flat()) {
    const real half = half_of(v, factor);
    if (!std::isfinite(half)) {
      throw Error({.fault = Fault::numeric,
                   .where = p.name,
                   .what = "a factor is no float16",
                   .found = str(static_cast<double>(v) * factor),
                   .hint = "lower qlora.lr_scale"});
    }
    out.push_back(half);
  }
  return out;
}

}  // namespace

void require_rank(const QloraOptions& options, const Param& weight, std::string_view where) {
  require_side_rank(options.rank, "qlora.rank", weight, where);
}

Adapters::Adapters(nn::Model& model, std::span<const Target> targets, const Quantized& base,
                   const QloraOptions& options, std::uint64_t seed)
    : base_(base) {
  require_targets(model, targets, Weights::of_shape);
  check(options.alpha > 0 && std::isfinite(options.alpha), "qlora", "alpha = ", options.alpha,
        " is not positive");
  ServedLayers::Matrices matrices;
  const std::vector<nn::Linear*> linears = model.linears();
  for (const Target& t : targets) {
    const NamedQTensor& tensor = codes_of(base, t, "the base of the adapters");
    check(tensor.change.empty(), t.name, "the base of the adapters changes its input");
    if (is_position(model, *t.weight)) continue;
    matrices.try_emplace(t.weight, tensor.q);
    Layer& layer = layers_[t.weight];
    layer.input = tensor.input;
    if (std::ranges::find(linears, t.linear) == linears.end()) continue;
    const std::int64_t rows = tensor.q.rows, cols = tensor.q.cols;
    const std::int64_t rank = options.rank;
    require_rank(options, *t.weight, t.name);
    layer.down = &params_.add(t.weight->name + ".adapter_down", {rank, cols});
    layer.up = &params_.add(t.weight->name + ".adapter_up", {rows, rank});
    layer.factor = options.alpha / static_cast<double>(rank);
  }
  check(!params_.params().empty(), "qlora", "no Linear of a block is quantized");
  params_.allocate_values();
  start(seed);
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = layers_.find(linear.weight);
        if (at == layers_.end()) return next(g, linear, x);
        const Layer& layer = at->second;
        const Var in = layer.input ? quantize_input(x, {.input = *layer.input}) : x;
        const Var y = next(g, linear, in);
        return layer.down ? add(y, product(g, layer, x)) : y;
      });
  loss_ = model.hooks().loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                 const nn::LossTargets& wanted,
                                                 const auto& next) -> Var {
    const auto at = layers_.find(head.weight);
    const bool rounds = at != layers_.end() && at->second.input;
    return next(g, head, rounds ? quantize_input(x, {.input = *at->second.input}) : x, wanted);
  });
  served_.emplace(model, std::move(matrices));
}

void Adapters::start(std::uint64_t seed) {
  std::uint64_t stream = 0;
  for (Param& p : params_.params()) {
    ++stream;
    if (p.name.ends_with("up")) continue;
    Rng rng(seed, stream);
    const double edge = 1 / std::sqrt(static_cast<double>(p.value.cols()));
    for (real& v : p.value.flat()) v = static_cast<real>(edge * (2 * rng.uniform() - 1));
  }
}

Var Adapters::product(Graph& g, const Layer& layer, Var x) const {
  const Var down = half_rounded(g.param(*layer.down));
  const Var up = half_rounded(g.param(*layer.up), layer.factor);
  const Var thin = linear(x, down);
  return linear(thin, up);
}

Quantized Adapters::convert() const {
  Quantized out = base_;
  for (const auto& [weight, layer] : layers_) {
    if (!layer.down) continue;
    find_named(out.tensors, weight->name)->change.side =
        SideProduct{.down = stored(*layer.down, 1),
                    .up = stored(*layer.up, layer.factor),
                    .rank = layer.down->value.rows()};
  }
  return out;
}

std::unique_ptr<nn::Model> packed_twin(const nn::Model& model, const Quantized& quantized) {
  std::unique_ptr<nn::Model> twin = model.twin(nn::Model::Values::shapes_only);
  twin->params().allocate_values([&](const Param& p) {
    return is_position(*twin, p) || find_named(quantized.tensors, p.name) == nullptr;
  });
  for (Param& p : twin->params().params()) {
    if (!p.value.data) continue;
    const Tensor& from = model.params().find(p.name)->value;
    check(from.data != nullptr, p.name, "has neither values nor codes");
    std::ranges::copy(from.flat(), p.value.data);
  }
  return twin;
}

void absorb_products(const Quantized& quantized, ParamStore& params) {
  for (const NamedQTensor& t : quantized.tensors) {
    Param* p = params.find(t.name);
    check(p && p->value.data, t.name, "the model has no values of such a parameter");
    dequantize(t.q, p->value.flat());
    if (!t.change.side) continue;
    const SideProduct& side = *t.change.side;
    check(side.channels.empty(), t.name,
          "channels that were set apart are not a part of the codes");
    check(side.rank > 0 && std::ssize(side.up) == t.q.rows * side.rank &&
              std::ssize(side.down) == side.rank * t.q.cols,
          t.name, "a product of ", side.up.size(), " and ", side.down.size(),
          " numbers is none of rank ", side.rank);
    for (std::int64_t r = 0; r < t.q.rows; ++r) {
      for (std::int64_t c = 0; c < t.q.cols; ++c) {
        double sum = static_cast<double>(p->value.data[r * t.q.cols + c]);
        for (std::int64_t k = 0; k < side.rank; ++k) {
          sum += static_cast<double>(side.up[static_cast<std::size_t>(r * side.rank + k)]) *
                 static_cast<double>(side.down[static_cast<std::size_t>(k * t.q.cols + c)]);
        }
        p->value.data[r * t.q.cols + c] = static_cast<real>(sum);
      }
    }
  }
}

}  // namespace notch::quant
