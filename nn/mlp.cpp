#include "nn/mlp.h"

#include <cmath>

#include "autograd/base/rng.h"

namespace notch::nn {

Var Mlp::Layer::operator()(Graph& g, Var x) const {
  const Var up = fc(g, x);
  const Var activated = gelu(up);
  const Var down = proj(g, activated);
  return add(x, down);
}

Mlp::Mlp(const MlpConfig& c)
    : params_(std::make_unique<ParamStore>()), hooks_(std::make_unique<Hooks>()) {
  check(c.vocab_size > 0 && c.channels > 0 && c.hidden > 0 && c.layers > 0, "mlp",
        "a size is not positive");
  wte_ = make_embedding(*params_, *hooks_, "wte", c.vocab_size, c.channels);
  for (int l = 0; l < c.layers; ++l) {
    const std::string name = "h." + std::to_string(l);
    layers_.push_back({name,
                       make_linear(*params_, *hooks_, name + ".fc", c.hidden, c.channels, true),
                       make_linear(*params_, *hooks_, name + ".proj", c.channels, c.hidden, true)});
  }
  lm_head_ = make_linear(*params_, *hooks_, "lm_head", c.vocab_size, c.channels, false);
  params_->allocate_values();
}

void Mlp::init(std::uint64_t seed) {
  std::uint64_t stream = 0;
  for (Param& p : params_->params()) {
    Rng rng(seed, stream++);
    if (p.value.shape.rank() != 2) continue;  // biases stay 0
    const double deviation = 1 / std::sqrt(static_cast<double>(p.value.cols()));
    for (real& v : p.value.flat()) v = static_cast<real>(deviation * rng.normal());
  }
}

std::vector<Linear*> Mlp::linears() {
  std::vector<Linear*> all;
  for (Layer& l : layers_) all.insert(all.end(), {&l.fc, &l.proj});
  return all;
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

Var Mlp::hidden(Graph& g, const Tokens& tokens) const {
  Var x = embed(g, tokens);
  for (const Layer& l : layers_) x = l(g, x);
  return x;
}

Var Mlp::loss(Graph& g, const Batch& batch, const std::optional<Teacher>& teacher) const {
  const Var x = hidden(g, batch.tokens);
  return loss_of(g, lm_head_, x, batch.targets, teacher);
}

}  // namespace notch::nn
