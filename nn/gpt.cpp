#include "nn/gpt.h"

#include <cmath>

#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"

namespace notch::nn {

Var CausalSelfAttention::mix(Var qkv, KvCache* cache) const {
  if (!cache) return causal_attention(qkv, n_head, dropout);
  check(cache->shape().n_head == n_head, "cached_attention", "the model has ", n_head,
        " heads, the cache ", cache->shape().n_head);
  return cached_attention(qkv, *cache, layer);
}

Var CausalSelfAttention::operator()(Graph& g, Var x, KvCache* cache) const {
  const Var in = reduced(c_attn_down, g, x);
  const Var qkv = c_attn(g, in);  // [B, T, 3A]
  const Var y = mix(qkv, cache);  // [B, T, A]
  const Var out = reduced(c_proj_down, g, y);
  const Var projected = c_proj(g, out);
  return notch::dropout(projected, dropout);
}

Var Mlp4::operator()(Graph& g, Var x) const {
  const Var in = reduced(c_fc_down, g, x);
  const Var hidden = c_fc(g, in);  // [B, T, n_inner]
  const Var activated = notch::gelu(hidden, gelu);
  const Var out = reduced(c_proj_down, g, activated);
  const Var projected = c_proj(g, out);  // [B, T, C]
  return notch::dropout(projected, dropout);
}

Var Block::attend(Graph& g, Var x, KvCache* cache) const {
  const LabelScope scope(g, name);
  const Var normed = ln_1(g, x);
  const Var attended = attn(g, normed, cache);
  return add(x, attended);
}

Var Block::transform(Graph& g, Var x) const {
  const LabelScope scope(g, name);
  const Var normed = ln_2(g, x);
  const Var transformed = mlp(g, normed);
  return add(x, transformed);
}

std::vector<Step> Block::steps() {
  const auto branch = [](Graph&, const State& s) { return s.inner; };
  const auto join = [](double dropout) {
    return [dropout](Graph&, State& s, std::span<const Var> y) {
      s = {.residual = add(s.residual, notch::dropout(y[0], dropout))};
    };
  };
  std::vector<Step> all;
  add_factored(
      all, attn.c_attn_down,
      {.linears = {&attn.c_attn},
       .norm = &ln_1,
       .input = [this](Graph& g, const State& s) { return ln_1(g, s.residual); },
       .take = [this](Graph&, State& s, std::span<const Var> y) { s.inner = attn.mix(y[0]); }});
  add_factored(all, attn.c_proj_down,
               {.linears = {&attn.c_proj},
                .source = &attn.c_attn,
                .source_row = attn.c_attn.out_features() / 3 * 2,
                .input = branch,
                .take = join(attn.dropout)});
  add_factored(all, mlp.c_fc_down,
               {.linears = {&mlp.c_fc},
                .norm = &ln_2,
                .input = [this](Graph& g, const State& s) { return ln_2(g, s.residual); },
                .take = [this](Graph&, State& s,
                               std::span<const Var> y) { s.inner = notch::gelu(y[0], mlp.gelu); }});
  add_factored(all, mlp.c_proj_down,
               {.linears = {&mlp.c_proj}, .input = branch, .take = join(mlp.dropout)});
  return all;
}

Gpt::Gpt(const GptConfig& c, Values values) : config_(c) {
  check(c.vocab_size > 0 && c.block_size > 0 && c.n_layer > 0 && c.n_head > 0 && c.n_embd > 0,
        "gpt", "a size is not positive: vocab_size ", c.vocab_size, ", block_size ", c.block_size,
        ", n_layer ", c.n_layer, ", n_head ", c.n_head, ", n_embd ", c.n_embd);
  check(c.head_dim >= 0, "gpt", "head_dim = ", c.head_dim, " is below 0");
  check(c.head_dim > 0 || c.n_embd % c.n_head == 0, "gpt", "n_head = ", c.n_head,
        " does not divide n_embd = ", c.n_embd);
  check(c.dropout >= 0 && c.dropout < 1, "gpt", "dropout = ", c.dropout, " is not in [0, 1)");
  check(c.n_inner >= 0 && c.layer_norm_epsilon > 0, "gpt", "n_inner = ", c.n_inner,
        " or layer_norm_epsilon = ", c.layer_norm_epsilon, " is out of range");
  const std::int64_t C = c.n_embd;
  sizes_ = {.vocab_size = c.vocab_size,
            .block_size = c.block_size,
            .n_layer = c.n_layer,
            .n_head = c.n_head,
            .n_kv_head = c.n_head,
            .head_dim = c.head_dim > 0 ? c.head_dim : C / c.n_head,
            .n_embd = C,
            .n_inner = c.hidden(),
            .ranks = c.ranks};
  const std::int64_t A = sizes_.attention();
  FactorShapes factors(params_, hooks_, sizes_);
  const auto norm = [&](const std::string& name) {
    return make_layernorm(params_, name, C, c.bias, c.layer_norm_epsilon);
  };
  token_table_ = make_embedding(params_, hooks_, "wte", c.vocab_size, C);
  position_table_ = make_embedding(params_, hooks_, "wpe", c.block_size, C);
  for (int l = 0; l < c.n_layer; ++l) {
    const std::string name = "h." + std::to_string(l);
    const auto dense = [&](Linear& down, const char* layer, std::int64_t out, std::int64_t in) {
      const std::int64_t inputs = factors.next(down, name + layer, out, in);
      return make_linear(params_, hooks_, name + layer, out, inputs, c.bias);
    };
    Block b{.name = name};
    b.ln_1 = norm(name + ".ln_1");
    b.attn.c_attn = dense(b.attn.c_attn_down, ".attn.c_attn", 3 * A, C);
    b.attn.c_proj = dense(b.attn.c_proj_down, ".attn.c_proj", C, A);
    b.attn.n_head = c.n_head;
    b.attn.layer = l;
    b.attn.dropout = c.dropout;
    b.ln_2 = norm(name + ".ln_2");
    b.mlp.c_fc = dense(b.mlp.c_fc_down, ".mlp.c_fc", c.hidden(), C);
    b.mlp.c_proj = dense(b.mlp.c_proj_down, ".mlp.c_proj", C, c.hidden());
    b.mlp.gelu = c.gelu;
    b.mlp.dropout = c.dropout;
    h_.push_back(std::move(b));
  }
  ln_f_ = norm("ln_f");
  if (c.tie_embeddings) {
    head_ = {"lm_head", token_table_.weight, nullptr, &hooks_};
  } else {
    head_ = make_linear(params_, hooks_, "lm_head", c.vocab_size, C, false);
  }
  if (values == Values::allocate) params_.allocate_values();
}

void Gpt::init(std::uint64_t seed) {
  const double residual = 0.02 / std::sqrt(2.0 * config_.n_layer);
  std::deque<Param>& params = params_.params();
  parallel_for(std::ssize(params), [&](std::int64_t i) {  // a stream of random numbers for each
    Param& p = params[static_cast<std::size_t>(i)];
    Rng rng(seed, static_cast<std::uint64_t>(i));
    const bool matrix = p.value.shape.rank() == 2;
    const double deviation = p.name.ends_with("c_proj.weight") ? residual : 0.02;
    for (real& v : p.value.flat()) {
      v = matrix ? static_cast<real>(deviation * rng.normal())
                 : static_cast<real>(p.name.ends_with(".weight") ? 1 : 0);
    }
  });
}

std::unique_ptr<Model> Gpt::twin(Values values) const {
  return std::make_unique<Gpt>(config_, values);
}

void Gpt::set_dropout(double rate) {
  config_.dropout = rate;
  for (Block& b : h_) b.attn.dropout = b.mlp.dropout = rate;
}

std::vector<Stage> Gpt::stages() {
  std::vector<Stage> all;
  for (Block& b : h_) all.push_back({b.name, b.steps()});
  const auto norm = [this](Graph& g, State& s, auto) { s.residual = ln_f_(g, s.residual); };
  all.push_back({ln_f_.name, {{.take = norm}}});
  return all;
}

Var Gpt::embed(Graph& g, const Tokens& tokens, const KvCache* cache) const {
  const std::int64_t first = cache ? cache->length() : 0;
  check(first + tokens.T <= config_.block_size, "gpt", "positions ", first, " to ",
        first + tokens.T - 1, " do not fit block_size = ", config_.block_size);
  const Var token_rows = token_table_(g, tokens);  // [B, T, C]
  const Var table = hooks_.weight(g, *position_table_.weight);
  const Var position_rows = slice(table, 0, first, first + tokens.T);  // [T, C]
  const Var x = add(token_rows, position_rows);
  return notch::dropout(x, config_.dropout);
}

Var Gpt::hidden(Graph& g, const Tokens& tokens, KvCache* cache) const {
  Var x = embed(g, tokens, cache);
  for (const Block& block : h_) x = block(g, x, cache);
  if (cache) cache->advance(tokens.T);
  return ln_f_(g, x);
}

}  // namespace notch::nn
