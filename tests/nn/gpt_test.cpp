// Gpt: names, sizes, initial state, and the identities its parts must satisfy.

#include "nn/gpt.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/base/rng.h"
#include "nn/mlp.h"
#include "tests/catch.h"
#include "tests/random_ids.h"

namespace notch::nn::gpt_test {

constexpr auto kTraining = Graph::Mode::training;
constexpr auto kInference = Graph::Mode::inference;
using test::random_ids;
using Names = std::vector<std::string>;
using Reals = std::vector<real>;

GptConfig small() {
  return {.vocab_size = 50, .block_size = 16, .n_layer = 3, .n_head = 4, .n_embd = 32};
}

Reals copy(Var v) { return {v.value().flat().begin(), v.value().flat().end()}; }

Names names_of(const ParamStore& params) {
  Names names;
  for (const Param& p : params.params()) names.push_back(p.name);
  return names;
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments moments(const Param& p) {
  Moments m;
  for (const real v : p.value.flat()) m.mean += v / static_cast<double>(p.value.size());
  for (const real v : p.value.flat())
    m.deviation += (v - m.mean) * (v - m.mean) / static_cast<double>(p.value.size());
  m.deviation = std::sqrt(m.deviation);
  return m;
}

TEST_CASE("parameter names and order are nanoGPT's") {
  // nanoGPT's model.py, GPT.state_dict() without "transformer." and the mask buffers.
  GptConfig config = small();
  config.n_layer = 1;
  CHECK(names_of(Gpt(config).params()) ==
        Names{"wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.0.ln_1.bias",
              "h.0.attn.c_attn.weight", "h.0.attn.c_attn.bias", "h.0.attn.c_proj.weight",
              "h.0.attn.c_proj.bias", "h.0.ln_2.weight", "h.0.ln_2.bias", "h.0.mlp.c_fc.weight",
              "h.0.mlp.c_fc.bias", "h.0.mlp.c_proj.weight", "h.0.mlp.c_proj.bias", "ln_f.weight",
              "ln_f.bias"});
  config.bias = false;
  config.tie_embeddings = false;
  CHECK(names_of(Gpt(config).params()) ==
        Names{"wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.0.attn.c_attn.weight",
              "h.0.attn.c_proj.weight", "h.0.ln_2.weight", "h.0.mlp.c_fc.weight",
              "h.0.mlp.c_proj.weight", "ln_f.weight", "lm_head.weight"});
}

TEST_CASE("GPT-2 small has 124,439,808 parameters and needs no memory for it") {
  Gpt model({.vocab_size = 50257, .block_size = 1024, .n_layer = 12, .n_head = 12, .n_embd = 768},
            Gpt::Values::shapes_only);
  CHECK(model.params().count() == 124439808);
  for (const Param& p : model.params().params()) CHECK(p.value.data == nullptr);
  CHECK(model.params().find("h.11.attn.c_attn.weight")->value.shape == Shape{2304, 768});
  CHECK(model.params().find("h.11.mlp.c_proj.weight")->value.shape == Shape{768, 3072});
}

TEST_CASE("configurations that cannot be are refused") {
  for (const auto& change : std::vector<std::function<void(GptConfig&)>>{
           [](GptConfig& c) { c.n_head = 5; }, [](GptConfig& c) { c.n_head = 0; },
           [](GptConfig& c) { c.vocab_size = 0; }, [](GptConfig& c) { c.block_size = -1; },
           [](GptConfig& c) { c.n_layer = 0; }, [](GptConfig& c) { c.n_embd = 0; },
           [](GptConfig& c) { c.dropout = 1; }, [](GptConfig& c) { c.dropout = -0.1; }}) {
    GptConfig config = small();
    change(config);
    CHECK(test::error_of([&] { Gpt model(config); }).where == "gpt");
  }
}

TEST_CASE("initial values are GPT-2's") {
  GptConfig config = small();
  config.n_embd = 64;
  Gpt model(config);
  model.init(7);
  for (const Param& p : model.params().params()) {
    INFO(p.name);
    const auto [mean, deviation] = moments(p);
    if (p.value.shape.rank() == 1) {
      const real expected = p.name.ends_with(".weight") ? 1 : 0;
      CHECK(std::ranges::all_of(p.value.flat(), [&](real v) { return v == expected; }));
      continue;
    }
    // Residual projections: 0.02/√(2 n_layer). Bounds are five standard errors.
    const double sigma = p.name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(6.0) : 0.02;
    const double n = static_cast<double>(p.value.size());
    CHECK(std::abs(mean) < 5 * sigma / std::sqrt(n));
    CHECK(std::abs(deviation / sigma - 1) < 5 / std::sqrt(2 * n));
  }
}

TEST_CASE("a seed repeats its values, other seeds and parameters do not") {
  Gpt a(small()), b(small()), c(small());
  a.init(1);
  b.init(1);
  c.init(2);
  std::set<real> first_values;
  int matrices = 0;
  for (const Param& p : a.params().params()) {
    CHECK(std::ranges::equal(p.value.flat(), b.params().find(p.name)->value.flat()));
    if (p.value.shape.rank() < 2) continue;
    ++matrices;
    CHECK_FALSE(std::ranges::equal(p.value.flat(), c.params().find(p.name)->value.flat()));
    const double scale = p.name.ends_with("c_proj.weight") ? std::sqrt(6.0) : 1;
    first_values.insert(std::round(static_cast<real>(scale * p.value.data[0] * 1e5)));
  }
  CHECK(std::ssize(first_values) == matrices);
}

TEST_CASE("the initial loss is that of guessing, ln V") {
  for (const bool tied : {true, false}) {
    GptConfig config = small();
    config.vocab_size = 300;
    config.tie_embeddings = tied;
    Gpt model(config);
    model.init(3);
    const auto ids = random_ids(64, 300, 1), targets = random_ids(64, 300, 2);
    Graph g;
    g.begin(kInference);
    const real loss = model.loss(g, {{ids, 4, 16}, targets}).item();
    CHECK(loss == Approx(std::log(300.0)).margin(0.1));
  }
}

TEST_CASE("the loss is the cross-entropy of the logits") {
  Gpt model(small());
  model.init(3);
  const auto ids = random_ids(32, 50, 1);
  auto targets = random_ids(32, 50, 2);
  targets[5] = -1;
  Graph g;
  g.begin(kInference);
  const real loss = model.loss(g, {{ids, 2, 16}, targets}).item();
  g.begin(kInference);
  CHECK(loss == Approx(cross_entropy(model.logits(g, {ids, 2, 16}), targets).item()).epsilon(1e-6));
}

/// The stages run by hand give hidden(), and name the Linears in their order.
void require_stages_compose(Model& model, const Tokens& tokens) {
  Graph g;
  g.begin(kInference);
  const Reals expected = copy(model.hidden(g, tokens));
  const Reals logits = copy(model.logits(g, tokens));
  g.begin(kInference);
  Var x = model.embed(g, tokens);
  std::vector<Linear*> linears;
  for (const Stage& stage : model.stages()) {
    x = stage.run(g, x);
    const std::vector<Linear*> of_stage = stage.linears();
    linears.insert(linears.end(), of_stage.begin(), of_stage.end());
  }
  CHECK(copy(x) == expected);
  CHECK(copy(model.head()(g, x)) == logits);
  CHECK(linears == model.linears());
  // And with each step on a tape of its own, as methods run them that stand between products.
  g.begin(kInference);
  const Var embedded = model.embed(g, tokens);
  Shape shape = embedded.shape(), inner_shape;
  Reals state = copy(embedded), inner;
  for (const Stage& stage : model.stages()) {
    for (const Step& step : stage.steps) {
      g.begin(kInference);
      State s{.residual = g.constant({state.data(), shape})};
      if (!inner.empty()) s.inner = g.constant({inner.data(), inner_shape});
      step.run(g, s);
      Reals next = copy(s.residual);
      inner = s.inner.graph ? copy(s.inner) : Reals{};
      if (s.inner.graph) inner_shape = s.inner.shape();
      state = std::move(next);
    }
    CHECK(inner.empty());  // between stages there is the residual stream alone
  }
  CHECK(state == expected);
}

TEST_CASE("stages composed by hand equal hidden() bit for bit") {
  const auto ids = random_ids(32, 50, 1);
  Gpt gpt(small());
  gpt.init(3);
  require_stages_compose(gpt, {ids, 2, 16});
  CHECK(gpt.head_is_tied());
  Mlp mlp({.vocab_size = 50});
  mlp.init(3);
  require_stages_compose(mlp, {ids, 2, 16});
  CHECK_FALSE(mlp.head_is_tied());
}

TEST_CASE("no position sees a later one") {
  Gpt model(small());
  model.init(3);
  auto ids = random_ids(16, 50, 1);
  Graph g;
  g.begin(kInference);
  const Reals before = copy(model.hidden(g, {ids, 1, 16}));
  for (const std::size_t changed : {0u, 7u, 15u}) {
    auto other = ids;
    other[changed] = (other[changed] + 1) % 50;
    g.begin(kInference);
    const Reals after = copy(model.hidden(g, {other, 1, 16}));
    for (std::size_t t = 0; t < 16; ++t) {
      const auto row = [&](const Reals& all) { return std::span(all).subspan(t * 32, 32); };
      INFO("token " << changed << " changed, position " << t);
      CHECK(std::ranges::equal(row(before), row(after)) == (t < changed));
    }
  }
}

TEST_CASE("repeated inference and training without dropout repeat their bits") {
  Gpt model(small());
  model.init(3);
  model.params().allocate_gradients();
  const auto ids = random_ids(32, 50, 1);
  Graph g;
  Reals first;
  for (const auto mode : {kInference, kInference, kTraining, kInference}) {
    g.begin(mode, 9);
    const Reals logits = copy(model.logits(g, {ids, 2, 16}));
    if (first.empty()) first = logits;
    CHECK(logits == first);
  }
}

TEST_CASE("sequences longer than the position table are refused") {
  Gpt model(small());
  model.init(3);
  const auto ids = random_ids(17, 50, 1);
  Graph g;
  g.begin(kInference);
  CHECK(test::error_of([&] { model.hidden(g, {ids, 1, 17}); }).where == "gpt");
}

TEST_CASE("a clone has its moment's values, no hooks and no later changes") {
  Gpt model(small());
  model.init(3);
  const auto link = model.hooks().weight_chain.attach(
      [](Graph& g, Param& p, const auto& next) { return scale(next(g, p), 2); });
  const auto copied = clone(model);
  CHECK(copied->config_json().dump() == model.config_json().dump());
  CHECK(copied->hooks().weight_chain.empty());
  real& value = model.params().find("wte.weight")->value.data[0];
  const real before = value;
  value += 1;
  CHECK(copied->params().find("wte.weight")->value.data[0] == before);
}

TEST_CASE("a packed layer's parameter is named when asked for as a matrix") {
  Gpt model(small(), Gpt::Values::shapes_only);
  model.params().allocate_values([](const Param& p) { return p.name != "h.1.mlp.c_fc.weight"; });
  const auto ids = random_ids(4, 50, 1);
  Graph g;
  g.begin(kInference);
  CHECK(test::error_of([&] { model.hidden(g, {ids, 1, 4}); }).where == "h.1.mlp.c_fc.weight");
}

}  // namespace notch::nn::gpt_test
