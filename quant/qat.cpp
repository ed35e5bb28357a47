#include "quant/qat.h"

#include <cmath>

#include "quant/kernels/fake_quant.h"

namespace notch::quant {

FakeQuantizer::FakeQuantizer(nn::ModelView& model, Training training,
                             std::span<const Target> targets, const QatOptions& options)
    : training_(training), options_(options), params_(std::make_unique<ParamStore>()) {
  check(training != Training::none, "qat", "the recipe does not train");
  check(!targets.empty(), "qat", "no layer to quantize");
  for (const Target& t : targets) {
    const Tensor& w = t.weight->value;
    check(training != Training::lsq || has_learned_step(t.spec), t.name, "grid ",
          name_of(t.spec.grid),
          " has no positive learned step; LSQ needs narrow, full, ternary or seq");
    const RangeRule rule = training == Training::lsq ? options.lsq_init : RangeRule::mse;
    Ranges ranges = choose_scales(w.flat(), w.rows(), w.cols(), t.spec, rule, t.name);
    Node& node = nodes_[t.weight];
    node.target = t;
    order_.push_back(t.weight);
    if (training == Training::ste) {
      node.ratios = std::move(ranges.ratios);
      continue;
    }
    node.log_scale = &params_->add(t.weight->name + ".log_scale", {std::ssize(ranges.at.scales)});
    params_->allocate_values();
    for (std::size_t u = 0; u < ranges.at.scales.size(); ++u) {
      node.log_scale->value.data[u] = std::log(std::abs(ranges.at.scales[u]));
    }
  }
  inputs_.emplace(model, targets, training == Training::lsq, options.ste, *params_);
  attachment_ =
      model.hooks->weight_chain.attach([this](Graph& g, Param& p, const auto& next) -> Var {
        const Var w = next(g, p);
        const auto at = nodes_.find(&p);
        if (!active_ || at == nodes_.end()) return w;
        const Node& node = at->second;
        const PackedWeights* packed = inputs_->packed(p);
        if (training_ == Training::ste) {
          return fake_quant_ste(w, node.target.spec, node.ratios, options_.ste, packed);
        }
        const Var log_scale = g.param(*node.log_scale);
        return fake_quant_lsq(w, log_scale, node.target.spec, options_.ste, packed);
      });
}

std::vector<FakeQuantizer::NamedValues> FakeQuantizer::fixed_values() {
  std::vector<NamedValues> all;
  for (const Param* p : order_) {
    Node& node = nodes_.at(p);
    if (!node.ratios.empty()) all.push_back({p->name + ".ratio", node.ratios});
  }
  return all;
}

Scales FakeQuantizer::scales_of(const Node& node) const {
  const Spec& spec = node.target.spec;
  const Tensor& w = node.target.weight->value;
  Scales at;
  if (training_ == Training::lsq) {
    for (const real l : node.log_scale->value.flat()) at.scales.push_back(lsq_step(l, spec.scale));
    return at;
  }
  const auto unit = static_cast<std::size_t>(unit_size(spec, w.rows(), w.cols()));
  for (std::size_t u = 0; u < node.ratios.size(); ++u) {
    const UnitScale s =
        scale_unit(std::span<const real>(w.flat()).subspan(u * unit, unit), spec, node.ratios[u]);
    at.scales.push_back(s.scale);
    if (has_zero_points(spec)) at.zero_points.push_back(static_cast<std::int8_t>(s.zero_point));
  }
  return at;
}

Quantized FakeQuantizer::convert() const {
  Quantized out;
  for (const Param* p : order_) {
    const Node& node = nodes_.at(p);
    const Tensor& w = p->value;
    QTensor q =
        quantize(w.flat(), w.rows(), w.cols(), node.target.spec, scales_of(node), node.target.name);
    const std::vector<real> rounded = dequantize(q);
    LayerReport report{.name = node.target.name, .spec = node.target.spec};
    measure_rounding(w.flat(), rounded, report);
    out.tensors.push_back({p->name, std::move(q), inputs_->input_of(*p)});
    out.layers.push_back(std::move(report));
  }
  return out;
}

}  // namespace notch::quant
