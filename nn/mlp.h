// Mlp: the smallest model with everything that Model asks for. Each token predicts the next
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
class Mlp final : public Model {
 public:
  explicit Mlp(const MlpConfig& config, Values values = Values::allocate);

  void init(std::uint64_t seed) override;  ///< N(0, 1/in_features), biases 0
  std::unique_ptr<Model> twin(Values values = Values::allocate) const override;
  std::vector<Stage> stages() override;
  Var embed(Graph& g, const Tokens& tokens, const KvCache* cache = nullptr) const override;
  Var hidden(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const override;
  /// What a file would hold of it: for the interface's sake, there are no files of an Mlp.
  std::string architecture() const override { return "mlp"; }
  Json config_json() const override;
  std::string description() const override { return "each token by itself"; }
  FileNames file_names() const override { return {.table = "wte.weight"}; }

 private:
  struct Layer {
    std::string name{};
    Linear fc{}, proj{};
    Var operator()(Graph& g, Var x) const;
  };
  MlpConfig config_;
  std::vector<Layer> layers_;
};

}  // namespace notch::nn
