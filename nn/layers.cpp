#include "nn/layers.h"

#include <algorithm>

namespace notch::nn {
namespace {

// Each Var is bound on its own line: the order in which C++ evaluates arguments differs between
// compilers, and with it the tape would.

Var plain_weight(Graph& g, Param& p) { return g.param(p); }

Var plain_linear(Graph& g, const Linear& layer, Var x) {
  const Var w = layer.hooks->weight(g, *layer.weight);
  return linear(x, w, layer.bias_in(g));
}

Var plain_embedding(Graph& g, const Embedding& layer, const Tokens& tokens) {
  const Var table = layer.hooks->weight(g, *layer.weight);
  return embedding(table, tokens.ids, tokens.B, tokens.T);
}

Var plain_loss(Graph& g, const Linear& head, Var x, const LossTargets& wanted) {
  const Var w = head.hooks->weight(g, *head.weight);
  return head_loss(x, w, wanted.targets, wanted.teacher);
}

}  // namespace

Hooks::Hooks()
    : weight_chain(plain_weight),
      linear_chain(plain_linear),
      embedding_chain(plain_embedding),
      loss_chain(plain_loss) {}

Var Hooks::weight(Graph& g, Param& p) const {
  if (const std::optional<Var> known = g.recall(this, &p)) return *known;
  const Var w = weight_chain(g, p);
  g.remember(this, &p, w);
  return w;
}

namespace {

/// Usage Error for a layer that no model has declared.
template <class Layer>
void require_declared(const Layer& layer) {
  bool declared = layer.weight != nullptr;
  if constexpr (requires { layer.hooks; }) declared = declared && layer.hooks != nullptr;
  check(declared, layer.name.empty() ? "layer" : layer.name,
        "has no weight; make_linear and its like declare one");
}

}  // namespace

std::optional<Var> Linear::bias_in(Graph& g) const {
  return bias ? std::optional(g.param(*bias)) : std::nullopt;
}

Var Linear::operator()(Graph& g, Var x) const {
  require_declared(*this);
  const LabelScope scope(g, name);
  return hooks->linear_chain(g, *this, x);
}

Var reduced(const Linear& down, Graph& g, Var x) { return down.weight ? down(g, x) : x; }

Var Embedding::operator()(Graph& g, const Tokens& tokens) const {
  require_declared(*this);
  const LabelScope scope(g, name);
  return hooks->embedding_chain(g, *this, tokens);
}

Var LayerNorm::operator()(Graph& g, Var x) const {
  require_declared(*this);
  const LabelScope scope(g, name);
  const Var gamma = g.param(*weight);
  if (!bias) return layernorm(x, gamma, std::nullopt, eps);
  const Var beta = g.param(*bias);
  return layernorm(x, gamma, beta, eps);
}

Var RmsNorm::operator()(Graph& g, Var x) const {
  require_declared(*this);
  const LabelScope scope(g, name);
  const Var gamma = g.param(*weight);
  return rmsnorm(x, gamma, eps);
}

Linear make_linear(ParamStore& params, const Hooks& hooks, const std::string& name,
                   std::int64_t out_features, std::int64_t in_features, bool bias) {
  Param& w = params.add(name + ".weight", {out_features, in_features});
  return {name, &w, bias ? &params.add(name + ".bias", {out_features}) : nullptr, &hooks};
}

Embedding make_embedding(ParamStore& params, const Hooks& hooks, const std::string& name,
                         std::int64_t rows, std::int64_t channels) {
  return {name, &params.add(name + ".weight", {rows, channels}), &hooks};
}

LayerNorm make_layernorm(ParamStore& params, const std::string& name, std::int64_t channels,
                         bool bias, double eps) {
  Param& w = params.add(name + ".weight", {channels});
  return {{name, &w, bias ? &params.add(name + ".bias", {channels}) : nullptr}, eps};
}

RmsNorm make_rmsnorm(ParamStore& params, const std::string& name, std::int64_t channels,
                     double eps) {
  return {{name, &params.add(name + ".weight", {channels}), nullptr}, eps};
}

}  // namespace notch::nn
