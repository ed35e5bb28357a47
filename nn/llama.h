// Llama (Touvron et al. 2023, arXiv:2302.13971): pre-norm blocks with RMSNorm, rotary positions
// instead of a table, a gated MLP (SwiGLU), queries that may share heads of keys and values, no
// biases. Parameter names are those of transformers' LlamaForCausalLM, and so is the orientation:
// its Linears are [out, in], as ours.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/model.h"
#include "nn/rotary_positions.h"

namespace notch::nn {

struct LlamaConfig {
  std::int64_t vocab_size = 256;
  std::int64_t block_size = 64;  ///< longest sequence
  int n_layer = 4;
  int n_head = 4;
  int n_kv_head = 4;  ///< a divisor of n_head
  std::int64_t n_embd = 128;
  std::int64_t n_inner = 352;  ///< channels inside the MLP; 8/3 n_embd or more
  double rope_theta = 10000;
  RopeScaling rope_scaling{};
  double rms_norm_eps = 1e-5;
  bool tie_embeddings = false;        ///< lm_head is embed_tokens
  std::int64_t head_dim = 0;          ///< channels of a head; 0: n_embd / n_head
  std::vector<std::int64_t> ranks{};  ///< Sizes::ranks: q k v, o, gate up, down of each block
  TokenIds token_ids{};

  bool operator==(const LlamaConfig&) const = default;
};

/// x [B, T, C] -> [B, T, C]: every position looks at itself and the ones before it. A = n_head · HS, HS
/// channels of a head, which is C unless head_dim says otherwise.
struct GroupedSelfAttention {
  Linear qkv_down{}, q_proj{}, k_proj{}, v_proj{}, o_down{}, o_proj{};
  int n_head = 1, layer = 0;
  const RotaryPositions* positions = nullptr;
  /// Rotates q [B, T, A] and k [B, T, KV·HS] and attends -> [B, T, A].
  Var mix(Var q, Var k, Var v, KvCache* cache = nullptr) const;
  Var operator()(Graph& g, Var x, KvCache* cache) const;
};

/// x [B, T, C] -> [B, T, C]: down(silu(gate x) · up x).
struct GatedMlp {
  Linear gate_up_down{}, gate_proj{}, up_proj{}, down_down{}, down_proj{};
  Var operator()(Graph& g, Var x) const;
};

struct LlamaBlock {
  std::string name{};
  RmsNorm input_layernorm{};
  GroupedSelfAttention self_attn{};
  RmsNorm post_attention_layernorm{};
  GatedMlp mlp{};
  Var attend(Graph& g, Var x, KvCache* cache = nullptr) const;
  Var transform(Graph& g, Var x) const;
  std::vector<Step> steps();  ///< the same, product after product
};

class Llama final : public Model {
 public:
  /// Declares the parameters. Throws (usage) when a size is not positive, heads do not divide
  /// channels and head_dim is not given, heads of keys do not divide heads, a head has an odd number
  /// of channels, a rank is above its matrix' smaller side, or positions are scaled as rope_divisors
  /// refuses.
  explicit Llama(const LlamaConfig& config, Values values = Values::allocate);

  const LlamaConfig& config() const { return config_; }

  void init(std::uint64_t seed) override;  ///< N(0, 0.02), norms 1: transformers'
  std::unique_ptr<Model> twin(Values values = Values::allocate) const override;
  std::vector<Stage> stages() override;  ///< model.layers.0, …, model.norm
  Var embed(Graph& g, const Tokens& tokens, const KvCache* cache = nullptr) const override;
  Var hidden(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const override;
  std::string architecture() const override { return "llama"; }
  Json config_json() const override;
  std::string description() const override;
  FileNames file_names() const override;
  TokenIds token_ids() const override { return config_.token_ids; }

 private:
  LlamaConfig config_;
  RotaryPositions positions_;
  std::vector<LlamaBlock> layers_;
  RmsNorm norm_{};
};

/// The configuration that a config.json of transformers' LlamaConfig describes; the sizes must be
/// there. Throws Fault::input, field = the key, for what this model cannot do exactly: rotary
/// embeddings that are partial, interleaved or scaled otherwise than Llama 3.1's, another activation,
/// biases, windows shorter than the context.
LlamaConfig parse_llama_config(const Json& json, const std::filesystem::path& path);

}  // namespace notch::nn
