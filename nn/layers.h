// Layers: names, parameters, and the formula. How they multiply is asked of the model's Hooks.
#pragma once

#include <optional>
#include <string>

#include "autograd/ops.h"
#include "nn/hooks.h"

namespace notch::nn {

/// y = x wᵀ + bias: weight [out, in], bias [out] or absent.
struct Linear {
  std::string name{};
  Param* weight = nullptr;
  Param* bias = nullptr;
  const Hooks* hooks = nullptr;

  std::int64_t in_features() const { return weight->value.shape[1]; }
  std::int64_t out_features() const { return weight->value.shape[0]; }
  /// The bias on this tape; nothing where there is none.
  std::optional<Var> bias_in(Graph& g) const;
  Var operator()(Graph& g, Var x) const;
};

/// What the matrices after it multiply: `down` of x, their first factor, or x itself where they are
/// whole and `down` has no weight.
Var reduced(const Linear& down, Graph& g, Var x);

/// Rows of weight [V, C].
struct Embedding {
  std::string name{};
  Param* weight = nullptr;
  const Hooks* hooks = nullptr;

  Var operator()(Graph& g, const Tokens& tokens) const;
};

/// A normalization over the last dimension: what its kinds have in common.
struct Norm {
  std::string name{};
  Param* weight = nullptr;
  Param* bias = nullptr;
};

/// Layer normalization.
struct LayerNorm : Norm {
  double eps = 1e-5;
  Var operator()(Graph& g, Var x) const;
};

/// Root mean square normalization; no bias.
struct RmsNorm : Norm {
  double eps = 1e-5;
  Var operator()(Graph& g, Var x) const;
};

/// Declare a layer's parameters `<name>.weight` and, if wanted, `<name>.bias`.
Linear make_linear(ParamStore& params, const Hooks& hooks, const std::string& name,
                   std::int64_t out_features, std::int64_t in_features, bool bias);
Embedding make_embedding(ParamStore& params, const Hooks& hooks, const std::string& name,
                         std::int64_t rows, std::int64_t channels);
LayerNorm make_layernorm(ParamStore& params, const std::string& name, std::int64_t channels,
                         bool bias, double eps = 1e-5);
RmsNorm make_rmsnorm(ParamStore& params, const std::string& name, std::int64_t channels,
                     double eps);

}  // namespace notch::nn
