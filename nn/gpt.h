// Gpt: the model of GPT-2 (Radford et al. 2019) as nanoGPT writes it: pre-norm blocks, learned
// positions, a head tied to the token table. Parameter names are nanoGPT's, which are GPT-2's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

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
  std::int64_t head_dim = 0;          ///< channels of a head; 0: n_embd / n_head
  std::vector<std::int64_t> ranks{};  ///< Sizes::ranks: c_attn, c_proj, c_fc, c_proj of each block
  TokenIds token_ids{};

  std::int64_t hidden() const { return n_inner > 0 ? n_inner : 4 * n_embd; }
  bool operator==(const GptConfig&) const = default;
};

/// x [B, T, C] -> [B, T, C]: every position looks at itself and the ones before it. A = n_head · head_dim,
/// which is C unless heads were taken out.
struct CausalSelfAttention {
  Linear c_attn_down{}, c_attn{}, c_proj_down{}, c_proj{};
  int n_head = 1, layer = 0;
  double dropout = 0;
  Var mix(Var qkv, KvCache* cache = nullptr) const;  ///< [B, T, 3A] -> [B, T, A]
  Var operator()(Graph& g, Var x, KvCache* cache) const;
};

/// x [B, T, C] -> [B, T, C] through n_inner channels and a GELU.
struct Mlp4 {
  Linear c_fc_down{}, c_fc{}, c_proj_down{}, c_proj{};
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

class Gpt final : public Model {
 public:
  /// Declares the parameters. Throws (usage) when heads do not divide channels and head_dim is not
  /// given, a size is not positive, a rank is above its matrix' smaller side, or dropout is not in
  /// [0, 1).
  explicit Gpt(const GptConfig& config, Values values = Values::allocate);

  const GptConfig& config() const { return config_; }

  /// N(0, 0.02), residual projections N(0, 0.02/√(2 n_layer)), biases 0, norms 1: GPT-2's.
  void init(std::uint64_t seed) override;
  std::unique_ptr<Model> twin(Values values = Values::allocate) const override;
  void set_dropout(double rate) override;
  std::vector<Stage> stages() override;  ///< h.0, h.1, …, ln_f
  Var embed(Graph& g, const Tokens& tokens, const KvCache* cache = nullptr) const override;
  Var hidden(Graph& g, const Tokens& tokens, KvCache* cache = nullptr) const override;
  std::string architecture() const override { return "gpt2"; }
  Json config_json() const override;
  std::string description() const override;
  FileNames file_names() const override;
  std::vector<FileTensor> file_tensors() const override;
  TokenIds token_ids() const override { return config_.token_ids; }

 private:
  GptConfig config_;
  std::vector<Block> h_;
  LayerNorm ln_f_{};
};

// ---- files (nn/gpt_files.cpp) ----
//
// GPT-2 keeps its projections as Conv1D, [in, out]; our Linear is [out, in], so the weights of
// c_attn, c_proj and c_fc are transposed in the file. Names are our parameters' names, as in the
// published GPT-2; an untied model has them below "transformer.", except "lm_head.weight", as
// GPT2LMHeadModel.save_pretrained writes them. The format has biases everywhere: a model without
// them writes zeros and says so in its config ("notch": {"bias": false}).

/// The configuration a config.json describes. Defaults are those of transformers' GPT2Config; the
/// five sizes must be there. Throws Fault::input, field = the key, for what this model cannot do
/// exactly: another activation, attention that is scaled in another way.
GptConfig parse_gpt_config(const Json& json, const std::filesystem::path& path);
Json config_json(const GptConfig& config);

}  // namespace notch::nn
