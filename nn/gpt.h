// Gpt: the model of GPT-2 (Radford et al. 2019) as nanoGPT writes it: pre-norm blocks, learned
// positions, a head tied to the token table. Parameter names are nanoGPT's, which are GPT-2's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/kv_cache.h"
#include "nn/layers.h"
#include "nn/model.h"

namespace notch::nn {

struct GptConfig {
  std::int64_t vocab_size = 256;
  std::int64_t block_size = 64;  ///< longest sequence: rows of the position table
  int n_layer = 4;
  int n_head = 4;
  std::int64_t n_embd = 128;
  double dropout = 0;
  bool bias = true;            ///< in Linears and LayerNorms
  Gelu gelu = Gelu::exact;     ///< GPT-2 itself uses Gelu::tanh
  bool tie_embeddings = true;  ///< lm_head is wte
  std::int64_t n_inner = 0;    ///< channels between the two Linears of the MLP; 0: 4 n_embd
  double layer_norm_epsilon = 1e-5;

  std::int64_t hidden() const { return n_inner > 0 ? n_inner : 4 * n_embd; }
  bool operator==(const GptConfig&) const = default;
};

/// x [B, T, C] -> [B, T, C]: every position looks at itself and the ones before it.
struct CausalSelfAttention {
  Linear c_attn{}, c_proj{};
  int n_head = 1, layer = 0;
  double dropout = 0;
  Var mix(Var qkv, KvCache* cache = nullptr) const;  ///< [B, T, 3C] -> [B, T, C]
  Var operator()(Graph& g, Var x, KvCache* cache) const;
};

/// x [B, T, C] -> [B, T, C] through n_inner channels and a GELU.
struct Mlp4 {
  Linear c_fc{}, c_proj{};
  Gelu gelu = Gelu::exact;
  double dropout = 0;
  Var operator()(Graph& g, Var x) const;
};

struct Block {
  std::string name{};
  LayerNorm ln_1{};
  CausalSelfAttention attn{};
  LayerNorm ln_2{};
  Mlp4 mlp{};
  Var attend(Graph& g, Var x, KvCache* cache = nullptr) const;  ///< x + attn(ln_1 x)
  Var transform(Graph& g, Var x) const;                         ///< x + mlp(ln_2 x)
  Var operator()(Graph& g, Var x, KvCache* cache = nullptr) const {
    return transform(g, attend(g, x, cache));
  }
  std::vector<Step> steps();  ///< the same, product after product
};

class Gpt {
 public:
  /// Whether the parameters get memory. A packed model fills only what stays in floating point.
  enum class Values { allocate, shapes_only };

  /// Declares the parameters. Throws (usage) when heads do not divide channels, a size is not
  /// positive, or dropout is not in [0, 1).
  explicit Gpt(const GptConfig& config, Values values = Values::allocate);
  Gpt(const Gpt&) = delete;
  Gpt& operator=(const Gpt&) = delete;

  /// N(0, 0.02), residual projections N(0, 0.02/√(2 n_layer)), biases 0, norms 1: GPT-2's.
  /// Parameter i draws from stream i of `seed`.
  void init(std::uint64_t seed);

  const GptConfig& config() const { return config_; }
  ParamStore& params() { return *params_; }
  const ParamStore& params() const { return *params_; }
  Hooks& hooks() { return *hooks_; }
  std::vector<Linear*> linears();  ///< without the head
  std::vector<Embedding*> embeddings();
  Linear& head() { return lm_head_; }
  std::vector<Stage> stages();  ///< h.0, h.1, …, ln_f

  /// Token + position rows [B, T, C]. With a cache, positions start at cache->length().
  Var embed(Graph& g, const Tokens& tokens, const KvCache* cache = nullptr) const;
  /// The final normalised states [B, T, C]. With a cache the new positions are added to it.
  Var hidden(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const;
  /// [B, T, V].
  Var logits(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const;
  /// [B, 1, V]: of the last position alone, which is all that generation wants of a prompt.
  Var next_logits(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const;
  /// Mean cross-entropy in nats, or the distillation loss -> [1].
  Var loss(Graph& g, const Batch& batch, const std::optional<Teacher>& teacher = {}) const;

 private:
  GptConfig config_;
  std::unique_ptr<ParamStore> params_;
  std::unique_ptr<Hooks> hooks_;
  Embedding wte_{}, wpe_{};
  std::vector<Block> h_;
  LayerNorm ln_f_{};
  Linear lm_head_{};
};

static_assert(Model<Gpt>);

/// A Gpt of the same configuration and values. Hooks are not copied.
std::unique_ptr<Gpt> clone(const Gpt& model);

}  // namespace notch::nn
