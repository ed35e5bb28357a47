// Mlp: the smallest model with everything the Model concept asks for. Each token predicts the next
// from itself alone (a bigram model with hidden layers). For lessons and tests: it trains in
// milliseconds.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/model.h"

namespace notch::nn {

struct MlpConfig {
  std::int64_t vocab_size = 32;
  std::int64_t channels = 16;
  std::int64_t hidden = 32;
  int layers = 2;  ///< residual pairs of Linears
};

/// x = wte[token];  x = x + proj(gelu(fc(x))) per layer;  logits = x headᵀ.
class Mlp {
 public:
  explicit Mlp(const MlpConfig& config);
  Mlp(const Mlp&) = delete;
  Mlp& operator=(const Mlp&) = delete;
  void init(std::uint64_t seed);  ///< N(0, 1/in_features), biases 0

  ParamStore& params() { return *params_; }
  Hooks& hooks() { return *hooks_; }
  std::vector<Linear*> linears();
  std::vector<Embedding*> embeddings() { return {&wte_}; }
  Linear& head() { return lm_head_; }
  std::vector<Stage> stages();
  Var embed(Graph& g, const Tokens& tokens) const { return wte_(g, tokens); }
  Var hidden(Graph& g, const Tokens& tokens) const;
  Var logits(Graph& g, const Tokens& tokens) const { return lm_head_(g, hidden(g, tokens)); }
  Var loss(Graph& g, const Batch& batch, const std::optional<Teacher>& teacher = {}) const;

 private:
  struct Layer {
    std::string name{};
    Linear fc{}, proj{};
    Var operator()(Graph& g, Var x) const;
  };
  std::unique_ptr<ParamStore> params_;
  std::unique_ptr<Hooks> hooks_;
  Embedding wte_{};
  std::vector<Layer> layers_;
  Linear lm_head_{};
};

static_assert(Model<Mlp>);

}  // namespace notch::nn
