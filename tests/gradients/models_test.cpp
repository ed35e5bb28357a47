// Whole models: the gradient of the loss with respect to every element of every parameter.

#include "autograd/base/rng.h"
#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/mlp.h"
#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"

namespace notch::models_test {

/// Values of size one, biases included: what init() gives is too small to show an error.
void randomise(ParamStore& params) {
  Rng rng(5);
  for (Param& p : params.params()) {
    const bool norm =
        p.name.find("ln_") != std::string::npos || p.name.find("norm") != std::string::npos;
    const double centre = norm ? 1 : 0;
    for (real& v : p.value.flat()) v = centre + rng.uniform() - 0.5;
  }
}

const std::int32_t kIds[] = {3, 1, 4, 1, 5, 0, 2, 6};
const std::int32_t kTargets[] = {1, 4, 1, -1, 0, 2, 6, 5};
const nn::Batch kBatch{{kIds, 2, 4}, kTargets};

void require_model(const std::string& name, ParamStore& params,
                   const std::function<Var(Graph&)>& loss) {
  params.allocate_gradients();
  const auto m = test::check_parameter_gradients(name, params, loss);
  INFO((m ? test::describe(*m) : name));
  CHECK_FALSE(m.has_value());
}

TEST_CASE("gradients of a whole Gpt in all its variants, with dropout") {
  for (const bool bias : {true, false}) {
    for (const bool tied : {true, false}) {
      for (const Gelu gelu : {Gelu::exact, Gelu::tanh}) {
        nn::Gpt model({.vocab_size = 7,
                       .block_size = 5,
                       .n_layer = 2,
                       .n_head = 2,
                       .n_embd = 4,
                       .dropout = 0.2,
                       .bias = bias,
                       .gelu = gelu,
                       .tie_embeddings = tied});
        randomise(model.params());
        require_model(str("gpt bias ", bias, " tied ", tied, " tanh ", gelu == Gelu::tanh),
                      model.params(), [&](Graph& g) { return model.loss(g, kBatch); });
      }
    }
  }
}

TEST_CASE("gradients of a whole Llama in all its variants") {
  for (const bool tied : {true, false}) {
    for (const int kv : {1, 2}) {
      nn::Llama model({.vocab_size = 7,
                       .block_size = 5,
                       .n_layer = 2,
                       .n_head = 2,
                       .n_kv_head = kv,
                       .n_embd = 4,
                       .n_inner = 6,
                       .rope_theta = 50,
                       .tie_embeddings = tied});
      randomise(model.params());
      require_model(str("llama tied ", tied, " kv ", kv), model.params(),
                    [&](Graph& g) { return model.loss(g, kBatch); });
    }
  }
}

TEST_CASE("gradients of a Gpt that is distilled") {
  const nn::GptConfig config{
      .vocab_size = 7, .block_size = 4, .n_layer = 1, .n_head = 1, .n_embd = 4};
  nn::Gpt model(config);
  randomise(model.params());
  auto x = test::draw({{8, 3}}, 1), head = test::draw({{7, 3}}, 2);
  const Teacher teacher{{x.data(), {8, 3}}, {head.data(), {7, 3}}, 2, 0.7};
  require_model("distilled gpt", model.params(),
                [&](Graph& g) { return model.loss(g, kBatch, teacher); });
}

TEST_CASE("gradients of a whole Mlp") {
  nn::Mlp model({.vocab_size = 7, .channels = 4, .hidden = 5, .layers = 2});
  randomise(model.params());
  require_model("mlp", model.params(), [&](Graph& g) { return model.loss(g, kBatch); });
}

}  // namespace notch::models_test
