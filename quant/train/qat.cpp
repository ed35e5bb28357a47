#include "quant/train/qat.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/oscillation.h"
#include "quant/kernels/round.h"
#include "quant/methods/hadamard.h"
#include "quant/methods/targets.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/format.h"
#include "quant/numbers/gaussian_fit.h"
#include "quant/numbers/own_levels.h"
#include "quant/ops/learned_codebook.h"
#include "quant/ops/rotation.h"

namespace notch::quant {
namespace {

constexpr double kMomentum = 0.01;  // of oscillation averages: the paper's

std::size_t unit_of(const Target& t) {
  const Tensor& w = t.weight->value;
  return static_cast<std::size_t>(unit_size(t.spec, w.rows(), w.cols()));
}

void require_options(const QatOptions& o) {
  const auto positive = [](const char* key, double v) {
    check(v >= 0 && std::isfinite(v), "qat", key, " = ", v, ", not 0 or more");
  };
  positive("freeze", o.freeze);
  positive("dampen", o.dampen);
  positive("cage", o.cage);
  positive("pact_decay", o.pact_decay);
}

RangeRule rule_of(LsqInit init) {
  if (init == LsqInit::paper) return RangeRule::lsq_paper;
  return init == LsqInit::absmax ? RangeRule::absmax : RangeRule::mse;
}

/// The units and lists of a target whose levels are learned.
LevelLists lists_of(const Target& t) {
  return {t.spec, t.weight->value.rows(), t.weight->value.cols()};
}

/// The scales that `start` has for a target.
const Scales& scales_in(const Quantized& start, const Target& t) {
  const NamedQTensor& at = codes_of(start, t, "the model that training starts from");
  check(at.q.spec == t.spec, t.name, "is on ", name_of(at.q.spec), " in the model that training ",
        "starts from, and to be trained on ", name_of(t.spec));
  return at.q.at;
}

}  // namespace

FakeQuantizer::FakeQuantizer(nn::Model& model, Training training, std::span<const Target> targets,
                             const QatOptions& options, const Quantized* start)
    : training_(training), options_(options), params_(std::make_unique<ParamStore>()) {
  check(training == Training::ste || training == Training::lsq || training == Training::gaussian,
        "qat", "the recipe does not train weights");
  check(training != Training::gaussian || !start, "qat",
        "codes of weights that were not rotated are no start for rotated ones");
  check(!targets.empty(), "qat", "no layer to quantize");
  require_options(options);
  require_targets(model, targets, Weights::with_values);
  for (const Target& t : targets) {
    const Tensor& w = t.weight->value;
    check(!has_words(t.spec), t.name, "words of the ", name_of(t.spec.grid),
          " grid are not trained; its levels would be on the grid learned");
    check(!has_own_levels(t.spec) ||
              (training != Training::gaussian && options.freeze == 0 && options.dampen == 0 &&
               options.cage == 0),
          t.name, "levels of the ", name_of(t.spec.grid),
          " grid move; qat-quest, qat.freeze, qat.dampen and qat.cage know grids that stay");
    check(training != Training::lsq || options.lsq_init != LsqInit::paper || start ||
              !has_zero_points(t.spec),
          t.name, "qat.lsq_init = \"paper\" knows no zero points; set mse or absmax");
    const RangeRule rule = training == Training::lsq ? rule_of(options.lsq_init) : RangeRule::mse;
    Node& node = nodes_[t.weight];
    node.target = t;
    node.index = order_.size();
    order_.push_back(t.weight);
    node.now = start ? scales_in(*start, t)
                     : choose_scales(w.flat(), w.rows(), w.cols(), t.spec, rule, t.name).at;
    if (options.freeze > 0) {
      const std::size_t n = w.flat().size();
      for (auto* each : {&node.code, &node.direction, &node.frequency}) each->resize(n);
      node.frozen.assign(n, kNotFrozen);
    }
    if (has_own_levels(t.spec)) {
      node.first = node.now.scales;
      if (training == Training::ste) continue;
      node.log_scale = &params_->add(t.weight->name + ".level_shift", {std::ssize(node.first)});
      params_->allocate_values();  // zeros: the first levels
      continue;
    }
    if (training == Training::ste) {
      node.anchors = anchor_ranges(w.flat(), node.now, t.spec);
      continue;
    }
    if (training == Training::gaussian) {
      check(!has_zero_points(t.spec), t.name, "a normal distribution about 0 has no zero point, the grid ",
            name_of(t.spec.grid), " has");
      node.of_normal = gaussian_scale(grid_of(t.spec));
      continue;
    }
    node.first = node.now.scales;
    node.zeros.assign(node.now.zero_points.begin(), node.now.zero_points.end());
    node.log_scale = &params_->add(t.weight->name + ".log_scale", {std::ssize(node.first)});
    params_->allocate_values();  // zeros: the first scales
  }
  if (training == Training::gaussian) rotate_inputs(model);
  const InputLearning usual = training == Training::lsq ? InputLearning::lsq : InputLearning::fixed;
  const InputLearning inputs = options.inputs == InputLearning::method ? usual : options.inputs;
  inputs_.emplace(model, targets, inputs, options.ste, options.backward, *params_);
  chain_ = &model.hooks().weight_chain;
  attachment_ = chain_->attach([this](Graph& g, Param& p, const auto& next) -> Var {
    const Var w = next(g, p);
    const auto at = nodes_.find(&p);
    if (at == nodes_.end()) return w;
    const Node& node = at->second;
    if (substitutes_) return g.param(substitutes_->params()[node.index]);
    const std::optional<PackedWeights> integers = inputs_->packed(g, p);
    const PackedWeights* packed = integers ? &*integers : nullptr;
    if (has_own_levels(node.target.spec)) {
      const Spec& spec = node.target.spec;
      return node.log_scale
                 ? fake_quant_shifted(w, g.param(*node.log_scale), spec, node.first, options_.ste)
                 : fake_quant_listed(w, spec, node.first, options_.ste);
    }
    if (training_ == Training::ste) {
      return fake_quant_ste(w, node.target.spec, node.anchors, options_.ste, packed);
    }
    if (training_ == Training::gaussian)
      return fake_quant_gaussian(w, node.target.spec, node.of_normal, packed);
    const Var log_scale = g.param(*node.log_scale);
    return fake_quant_lsq(w, log_scale, node.first, node.target.spec, options_.ste, packed,
                          node.zeros);
  });
  if (training == Training::gaussian) rotate_weights();
  if (options.freeze > 0) start_oscillation();
}

/// Before the links that multiply are attached: these get the rotated inputs.
void FakeQuantizer::rotate_inputs(nn::Model& model) {
  const std::vector<nn::Linear*> linears = model.linears();
  for (auto& [weight, node] : nodes_) {
    if (std::ranges::find(linears, node.target.linear) == linears.end()) continue;
    node.signs = rotation_signs(weight->value.cols());
  }
  rotated_inputs_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = nodes_.find(linear.weight);
        const bool rotates = at != nodes_.end() && !at->second.signs.empty();
        return next(g, linear, rotates ? rotate(x, at->second.signs) : x);
      });
}

/// After the link that rounds: it rounds what this makes of the weights.
void FakeQuantizer::rotate_weights() {
  rotated_weights_ = chain_->attach([this](Graph& g, Param& p, const auto& next) -> Var {
    const Var w = next(g, p);
    const auto at = nodes_.find(&p);
    return at == nodes_.end() || at->second.signs.empty() ? w : rotate(w, at->second.signs);
  });
}

const Param* FakeQuantizer::matrix(std::size_t i) const {
  check(i < order_.size(), "qat", "matrix ", i, " of ", order_.size());
  return order_[i];
}

void FakeQuantizer::substitute(ParamStore* weights) {
  check(!weights || weights->params().size() == order_.size(), "qat",
        "other weights are to stand for ", order_.size(), " matrices");
  for (std::size_t i = 0; weights && i < order_.size(); ++i) {
    const Param& p = weights->params()[i];
    check(p.value.data && p.value.shape == order_[i]->value.shape, p.name, "is of ", p.value.shape,
          " and cannot stand for ", order_[i]->name);
  }
  substitutes_ = weights;
  inputs_->set_active(!weights);
}

std::span<const real> FakeQuantizer::look(Node& node) {
  Param& p = *node.target.weight;
  node.seen = p.value.flat();
  if (!chain_->is_last(attachment_)) {
    Graph g;
    g.begin(Graph::Mode::inference);
    const Var w = chain_->below(attachment_, g, p);
    const std::span<const real> values = w.value().flat();
    node.below.assign(values.begin(), values.end());
    node.seen = node.below;
  }
  return node.seen;
}

std::vector<nn::NamedValues> FakeQuantizer::state() {
  std::vector<nn::NamedValues> all;
  const auto add = [&](const Param* p, std::string_view what, std::span<real> values) {
    if (!values.empty()) all.push_back({str(p->name, '.', what), values});
  };
  for (const Param* p : order_) {
    Node& node = nodes_.at(p);
    static_assert(sizeof(RangeAnchor) == 4 * sizeof(real));
    add(p, "anchor", {reinterpret_cast<real*>(node.anchors.data()), 4 * node.anchors.size()});
    add(p, "first_scale", node.first);
    add(p, "zero_point", node.zeros);
    add(p, "oscillation.code", node.code);
    add(p, "oscillation.direction", node.direction);
    add(p, "oscillation.frequency", node.frequency);
    add(p, "oscillation.mean", node.mean);
    add(p, "oscillation.frozen", node.frozen);
  }
  inputs_->add_state(all);
  return all;
}

/// Into vectors of the right sizes: training calls it in every step.
void FakeQuantizer::find_scales(const Node& node, Scales& at) const {
  const Spec& spec = node.target.spec;
  const std::span<const real> w = node.seen;
  const std::size_t unit = unit_of(node.target);
  if (has_own_levels(spec)) {
    at.scales = node.first;
    if (!node.log_scale) return;
    const std::span<const real> shift = std::as_const(*node.log_scale).value.flat();
    const std::span<const real> first = node.first;
    const LevelLists lists = lists_of(node.target);
    lists.for_units([&](std::int64_t u) {
      shift_levels(lists.list(std::span(at.scales), u), lists.list(first, u), lists.list(shift, u),
                   spec.scale);
    });
    return;
  }
  for (std::size_t u = 0; u < at.scales.size(); ++u) {
    if (training_ == Training::lsq) {
      at.scales[u] = lsq_step(node.first[u], node.log_scale->value.data[u], spec.scale);
      if (!node.zeros.empty()) at.zero_points[u] = static_cast<std::int8_t>(node.zeros[u]);
      continue;
    }
    if (training_ == Training::gaussian) {
      at.scales[u] = fitted_scale(w.subspan(u * unit, unit), spec, node.of_normal);
      continue;
    }
    const UnitScale s = follow_range(node.anchors[u], min_max(w.subspan(u * unit, unit)), spec);
    at.scales[u] = s.scale;
    if (has_zero_points(spec)) at.zero_points[u] = static_cast<std::int8_t>(s.zero_point);
  }
}

Scales FakeQuantizer::scales_of(const Node& node) const {
  Scales at = node.now;
  find_scales(node, at);
  return at;
}

/// body(node, grid, weights per unit) for all nodes, with the scales of their present weights.
template <class Body>
void FakeQuantizer::for_nodes(const Body& body) {
  for (const Param* p : order_) look(nodes_.at(p));
  parallel_for(std::ssize(order_), [&](std::int64_t i) {
    Node& node = nodes_.at(order_[static_cast<std::size_t>(i)]);
    find_scales(node, node.now);
    body(node, grid_of(node.target.spec), static_cast<std::int64_t>(unit_of(node.target)));
  });
}

void FakeQuantizer::start_oscillation() {
  for_nodes([](Node& node, const Grid& g, std::int64_t unit) {
    const std::span<const real> w = node.seen;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const std::size_t u = i / static_cast<std::size_t>(unit);
      const int z = node.now.zero_points.empty() ? 0 : node.now.zero_points[u];
      node.code[i] = g.level(g.nearest(w[i] / node.now.scales[u], z), z);
    }
    node.mean = node.code;
  });
}

/// Dampening pulls at the parameters themselves and freezing holds them.
void FakeQuantizer::refuse_links_below(const char* option) const {
  check(chain_->is_last(attachment_), "qat",
        "another link changes weights before they are rounded; ", "set ", option, " = 0");
}

void FakeQuantizer::before_update(double r) {
  nn::require_share(r);
  inputs_->add_decay(options_.pact_decay);
  if (options_.dampen == 0) return;
  refuse_links_below("qat.dampen");
  const double weight = options_.dampen * (1 - elementary::cos(std::numbers::pi * r)) / 2;
  for_nodes([&](Node& node, const Grid& g, std::int64_t unit) {
    Param& p = *node.target.weight;
    dampen_backward(p.grad.flat(), p.value.flat(), {node.now.scales, node.now.zero_points, unit}, g,
                    weight);
  });
}

void FakeQuantizer::draw_to_codes(const nn::Moment& at) {
  if (options_.cage == 0) return;
  refuse_links_below("qat.cage");
  const double rise = std::max(0.0, (at.r - kCageSilence) / (1 - kCageSilence));
  const double share = std::min(1.0, at.lr * options_.cage * rise);
  if (share == 0) return;
  for_nodes([&](Node& node, const Grid& g, std::int64_t unit) {
    draw_to_levels(node.target.weight->value.flat(), {node.now.scales, node.now.zero_points, unit},
                   g, share);
  });
}

void FakeQuantizer::after_update(const nn::Moment& at) {
  nn::require_share(at.r);
  check(at.lr >= 0 && std::isfinite(at.lr), "qat", "a learning rate of ", at.lr);
  draw_to_codes(at);
  for (auto& [p, node] : nodes_) {
    if (node.log_scale || !has_own_levels(node.target.spec)) continue;
    const LevelLists lists = lists_of(node.target);
    const std::span<real> all = node.first;
    const std::span<const real> w = look(node);
    lists.for_units([&, type = node.target.spec.scale](std::int64_t u) {
      const std::span<real> levels = lists.list(all, u);
      refit_levels(levels, levels, lists.weights(w, u), type);
    });
  }
  if (options_.freeze == 0) return;
  refuse_links_below("qat.freeze");
  for_nodes([&](Node& node, const Grid& g, std::int64_t unit) {
    observe_oscillation({node.code, node.direction, node.frequency, node.mean, node.frozen},
                        node.target.weight->value.flat(),
                        {node.now.scales, node.now.zero_points, unit}, g, kMomentum,
                        options_.freeze);
  });
}

double FakeQuantizer::frozen_share() const {
  double frozen = 0, weights = 0;
  for (const auto& [p, node] : nodes_) {
    weights += static_cast<double>(p->value.size());
    frozen += static_cast<double>(
        std::ranges::count_if(node.frozen, [](real code) { return code != kNotFrozen; }));
  }
  return frozen / weights;
}

Quantized FakeQuantizer::convert() {
  Quantized out;
  for (const Param* p : order_) {
    Node& node = nodes_.at(p);
    const std::span<const real> w = look(node);
    QTensor q = quantize(w, p->value.rows(), p->value.cols(), node.target.spec, scales_of(node),
                         node.target.name);
    const std::vector<real> rounded = dequantize(q);
    LayerReport report{.name = node.target.name, .spec = node.target.spec};
    measure_rounding(w, rounded, report);
    out.tensors.push_back({p->name, std::move(q), inputs_->input_of(*p), {.signs = node.signs}});
    out.layers.push_back(std::move(report));
  }
  return out;
}

}  // namespace notch::quant
