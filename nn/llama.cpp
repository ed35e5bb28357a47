#include "nn/llama.h"

#include <cmath>

#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"

namespace notch::nn {
namespace {

/// Channels of a head; 0 where that cannot be said and the constructor refuses.
std::int64_t head_of(const LlamaConfig& c) {
  return c.head_dim != 0 ? c.head_dim : c.n_head > 0 ? c.n_embd / c.n_head : 0;
}

}  // namespace

Var GroupedSelfAttention::mix(Var q, Var k, Var v, KvCache* cache) const {
  check(positions != nullptr, "attention", "has no positions");
  check(!cache || cache->shape().n_head == n_head, "cached_attention", "the model has ", n_head,
        " heads, the cache ", cache ? cache->shape().n_head : 0);
  const std::int64_t first = cache ? cache->length() : 0;
  const Tensor& table = positions->table(first + q.value().shape[1]);
  const Var turned_q = rotary(q, table, first);
  const Var turned_k = rotary(k, table, first);
  return cache ? cached_attention(turned_q, turned_k, v, *cache, layer)
               : causal_attention(turned_q, turned_k, v, n_head);
}

Var GroupedSelfAttention::operator()(Graph& g, Var x, KvCache* cache) const {
  const Var in = reduced(qkv_down, g, x);
  const Var q = q_proj(g, in);  // [B, T, A]
  const Var k = k_proj(g, in);  // [B, T, KV·HS]
  const Var v = v_proj(g, in);
  const Var y = mix(q, k, v, cache);  // [B, T, A]
  const Var out = reduced(o_down, g, y);
  return o_proj(g, out);
}

Var GatedMlp::operator()(Graph& g, Var x) const {
  const Var in = reduced(gate_up_down, g, x);
  const Var gate = gate_proj(g, in);  // [B, T, n_inner]
  const Var up = up_proj(g, in);
  const Var inner = swiglu(gate, up);
  const Var out = reduced(down_down, g, inner);
  return down_proj(g, out);  // [B, T, C]
}

Var LlamaBlock::attend(Graph& g, Var x, KvCache* cache) const {
  const LabelScope scope(g, name);
  const Var normed = input_layernorm(g, x);
  const Var attended = self_attn(g, normed, cache);
  return add(x, attended);
}

Var LlamaBlock::transform(Graph& g, Var x) const {
  const LabelScope scope(g, name);
  const Var normed = post_attention_layernorm(g, x);
  const Var transformed = mlp(g, normed);
  return add(x, transformed);
}

std::vector<Step> LlamaBlock::steps() {
  const auto branch = [](Graph&, const State& s) { return s.inner; };
  const auto join = [](Graph&, State& s, std::span<const Var> y) {
    s = {.residual = add(s.residual, y[0])};
  };
  // A row of v reaches several heads' columns where queries share it.
  const bool shared = self_attn.v_proj.out_features() < self_attn.q_proj.out_features();
  std::vector<Step> all;
  add_factored(
      all, self_attn.qkv_down,
      {.linears = {&self_attn.q_proj, &self_attn.k_proj, &self_attn.v_proj},
       .norm = &input_layernorm,
       .input = [this](Graph& g, const State& s) { return input_layernorm(g, s.residual); },
       .take = [this](Graph&, State& s,
                      std::span<const Var> y) { s.inner = self_attn.mix(y[0], y[1], y[2]); }});
  add_factored(all, self_attn.o_down,
               {.linears = {&self_attn.o_proj},
                .source = shared ? nullptr : &self_attn.v_proj,
                .input = branch,
                .take = join});
  add_factored(
      all, mlp.gate_up_down,
      {.linears = {&mlp.gate_proj, &mlp.up_proj},
       .norm = &post_attention_layernorm,
       .input = [this](Graph& g,
                       const State& s) { return post_attention_layernorm(g, s.residual); },
       .take = [](Graph&, State& s, std::span<const Var> y) { s.inner = swiglu(y[0], y[1]); }});
  add_factored(
      all, mlp.down_down,
      {.linears = {&mlp.down_proj}, .source = &mlp.up_proj, .input = branch, .take = join});
  return all;
}

Llama::Llama(const LlamaConfig& c, Values values)
    : config_(c), positions_(c.block_size, head_of(c), c.rope_theta, c.rope_scaling) {
  check(c.vocab_size > 0 && c.block_size > 0 && c.n_layer > 0 && c.n_head > 0 && c.n_kv_head > 0 &&
            c.n_embd > 0 && c.n_inner > 0,
        "llama", "a size is not positive: vocab_size ", c.vocab_size, ", block_size ", c.block_size,
        ", n_layer ", c.n_layer, ", n_head ", c.n_head, ", n_kv_head ", c.n_kv_head, ", n_embd ",
        c.n_embd, ", n_inner ", c.n_inner);
  check(c.head_dim >= 0, "llama", "head_dim = ", c.head_dim, " is below 0");
  check(c.rope_theta > 0 && std::isfinite(c.rope_theta) && c.rms_norm_eps >= 0 &&
            std::isfinite(c.rms_norm_eps),
        "llama", "rope_theta = ", c.rope_theta, " or rms_norm_eps = ", c.rms_norm_eps,
        " is out of range");
  check(c.head_dim > 0 || c.n_embd % c.n_head == 0, "llama", "n_head = ", c.n_head,
        " does not divide n_embd = ", c.n_embd);
  check(c.n_head % c.n_kv_head == 0, "llama", "n_kv_head = ", c.n_kv_head,
        " does not divide n_head = ", c.n_head);
  const std::int64_t C = c.n_embd, HS = head_of(c), A = HS * c.n_head, KC = HS * c.n_kv_head;
  check(HS % 2 == 0, "llama", "a head of ", HS, " channels has no pairs to turn; n_embd = ", C,
        ", n_head = ", c.n_head);
  sizes_ = {.vocab_size = c.vocab_size,
            .block_size = c.block_size,
            .n_layer = c.n_layer,
            .n_head = c.n_head,
            .n_kv_head = c.n_kv_head,
            .head_dim = HS,
            .n_embd = C,
            .n_inner = c.n_inner,
            .mlp_matrices = 3,
            .ranks = c.ranks};
  FactorShapes factors(params_, hooks_, sizes_);
  const auto dense = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    return make_linear(params_, hooks_, name, out, in, false);
  };
  const auto norm = [&](const std::string& name) {
    return make_rmsnorm(params_, name, C, c.rms_norm_eps);
  };
  token_table_ = make_embedding(params_, hooks_, "model.embed_tokens", c.vocab_size, C);
  for (int l = 0; l < c.n_layer; ++l) {
    LlamaBlock b{.name = "model.layers." + std::to_string(l)};
    const std::string attn = b.name + ".self_attn.", mlp = b.name + ".mlp.";
    b.input_layernorm = norm(b.name + ".input_layernorm");
    std::int64_t in = factors.next(b.self_attn.qkv_down, attn + "qkv_proj", A + 2 * KC, C);
    b.self_attn.q_proj = dense(attn + "q_proj", A, in);
    b.self_attn.k_proj = dense(attn + "k_proj", KC, in);
    b.self_attn.v_proj = dense(attn + "v_proj", KC, in);
    in = factors.next(b.self_attn.o_down, attn + "o_proj", C, A);
    b.self_attn.o_proj = dense(attn + "o_proj", C, in);
    b.self_attn.n_head = c.n_head;
    b.self_attn.layer = l;
    b.self_attn.positions = &positions_;
    b.post_attention_layernorm = norm(b.name + ".post_attention_layernorm");
    in = factors.next(b.mlp.gate_up_down, mlp + "gate_up_proj", 2 * c.n_inner, C);
    b.mlp.gate_proj = dense(mlp + "gate_proj", c.n_inner, in);
    b.mlp.up_proj = dense(mlp + "up_proj", c.n_inner, in);
    in = factors.next(b.mlp.down_down, mlp + "down_proj", C, c.n_inner);
    b.mlp.down_proj = dense(mlp + "down_proj", C, in);
    layers_.push_back(std::move(b));
  }
  norm_ = norm("model.norm");
  if (c.tie_embeddings) {
    head_ = {"lm_head", token_table_.weight, nullptr, &hooks_};
  } else {
    head_ = dense("lm_head", c.vocab_size, C);
  }
  if (values == Values::allocate) params_.allocate_values();
}

void Llama::init(std::uint64_t seed) {
  std::deque<Param>& params = params_.params();
  parallel_for(std::ssize(params), [&](std::int64_t i) {
    Param& p = params[static_cast<std::size_t>(i)];
    Rng rng(seed, static_cast<std::uint64_t>(i));
    const bool matrix = p.value.shape.rank() == 2;
    for (real& v : p.value.flat()) v = matrix ? static_cast<real>(0.02 * rng.normal()) : real{1};
  });
}

std::unique_ptr<Model> Llama::twin(Values values) const {
  return std::make_unique<Llama>(config_, values);
}

std::vector<Stage> Llama::stages() {
  std::vector<Stage> all;
  for (LlamaBlock& b : layers_) all.push_back({b.name, b.steps()});
  const auto norm = [this](Graph& g, State& s, auto) { s.residual = norm_(g, s.residual); };
  all.push_back({norm_.name, {{.take = norm}}});
  return all;
}

Var Llama::embed(Graph& g, const Tokens& tokens, const KvCache* cache) const {
  const std::int64_t first = cache ? cache->length() : 0;
  check(first + tokens.T <= config_.block_size, "llama", "positions ", first, " to ",
        first + tokens.T - 1, " do not fit block_size = ", config_.block_size);
  return token_table_(g, tokens);
}

Var Llama::hidden(Graph& g, const Tokens& tokens, KvCache* cache) const {
  Var x = embed(g, tokens, cache);
  for (const LlamaBlock& block : layers_) x = block.transform(g, block.attend(g, x, cache));
  if (cache) cache->advance(tokens.T);
  return norm_(g, x);
}

}  // namespace notch::nn
