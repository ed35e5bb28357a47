#include "nn/mlp.h"

#include <cmath>
#include <limits>

#include "autograd/base/rng.h"

namespace notch::nn {

Var Mlp::Layer::operator()(Graph& g, Var x) const {
  const Var up = fc(g, x);
  const Var activated = gelu(up);
  const Var down = proj(g, activated);
  return add(x, down);
}

Mlp::Mlp(const MlpConfig& c, Values values) : config_(c) {
  check(c.vocab_size > 0 && c.channels > 0 && c.hidden > 0 && c.layers > 0, "mlp",
        "a size is not positive");
  sizes_ = {.vocab_size = c.vocab_size,
            .block_size = std::numeric_limits<std::int32_t>::max(),
            .n_layer = c.layers,
            .n_embd = c.channels,
            .n_inner = c.hidden};
  token_table_ = make_embedding(params_, hooks_, "wte", c.vocab_size, c.channels);
  for (int l = 0; l < c.layers; ++l) {
    const std::string name = "h." + std::to_string(l);
    layers_.push_back({name, make_linear(params_, hooks_, name + ".fc", c.hidden, c.channels, true),
                       make_linear(params_, hooks_, name + ".proj", c.channels, c.hidden, true)});
  }
  head_ = make_linear(params_, hooks_, "lm_head", c.vocab_size, c.channels, false);
  if (values == Values::allocate) params_.allocate_values();
}

std::unique_ptr<Model> Mlp::twin(Values values) const {
  return std::make_unique<Mlp>(config_, values);
}

void Mlp::init(std::uint64_t seed) {
  std::uint64_t stream = 0;
  for (Param& p : params_.params()) {
    Rng rng(seed, stream++);
    if (p.value.shape.rank() != 2) continue;  // biases stay 0
    const double deviation = 1 / std::sqrt(static_cast<double>(p.value.cols()));
    for (real& v : p.value.flat()) v = static_cast<real>(deviation * rng.normal());
  }
}

std::vector<Stage> Mlp::stages() {
  std::vector<Stage> all;
  for (Layer& l : layers_) {
    all.push_back(
        {l.name,
         {{.linears = {&l.fc},
           .input = [](Graph&, const State& s) { return s.residual; },
           .take = [](Graph&, State& s, std::span<const Var> y) { s.inner = gelu(y[0]); }},
          {.linears = {&l.proj},
           .input = [](Graph&, const State& s) { return s.inner; },
           .take = [](Graph&, State& s,
                      std::span<const Var> y) { s = {.residual = add(s.residual, y[0])}; }}}});
  }
  return all;
}

Var Mlp::embed(Graph& g, const Tokens& tokens, const KvCache*) const {
  return token_table_(g, tokens);
}

Var Mlp::hidden(Graph& g, const Tokens& tokens, KvCache* cache) const {
  Var x = embed(g, tokens, nullptr);
  for (const Layer& l : layers_) x = l(g, x);
  if (cache) cache->advance(tokens.T);
  return x;
}

Json Mlp::config_json() const {
  Json json = Json::object();
  json.set("model_type", "mlp")
      .set("vocab_size", config_.vocab_size)
      .set("channels", config_.channels)
      .set("hidden", config_.hidden)
      .set("layers", config_.layers);
  return json;
}

}  // namespace notch::nn
