// Notch against PyTorch: the models of tests/fixtures/make_gpt.py, which says what the files hold,
// and of make_llama.py. The reference is float64, so the differences are the rounding errors of this engine
// (and 1.5e-5 of a gradient's maximum from the fixture's 16 bits).
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "nn/gpt.h"
#include "nn/llama.h"
#include "nn/safetensors.h"
#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "tests/catch.h"
#include "tests/folders.h"

namespace torch_fixture_test {

using namespace notch;

constexpr double kTolerance = 1e-4;

class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : file_(nn::SafetensorsFile::open(
            str(test::source_dir().string(), "/tests/fixtures/", name, ".safetensors"))) {}

  const nn::TensorEntry& entry(const std::string& name) const {
    const nn::TensorEntry* found = file_.find(name);
    if (!found) FAIL(name << " is not in the fixture");
    return *found;
  }
  template <class T>
  std::vector<T> raw(const std::string& name) const {
    const nn::TensorEntry& e = entry(name);
    std::vector<T> values(static_cast<std::size_t>(e.size()));
    file_.read_bytes(e, std::as_writable_bytes(std::span(values)));
    return values;
  }
  void load_weights(ParamStore& params) const {
    for (Param& p : params.params()) {
      const nn::TensorEntry& e = entry("weight." + p.name);
      REQUIRE(e.shape == nn::file_shape(p.value.shape));
      file_.read(e, p.value.flat());
    }
  }
  std::vector<double> gradient(const std::string& parameter) const {
    const double unit = raw<double>("unit." + parameter)[0];
    std::vector<double> values;
    for (const std::int16_t code : raw<std::int16_t>("grad." + parameter)) {
      values.push_back(unit * code);
    }
    return values;
  }

 private:
  nn::SafetensorsFile file_;
};

/// max |a - b| / max |b|: relative to the tensor's largest magnitude, because single elements can
/// be as close to zero as cancellation makes them.
template <class A, class B>
double difference(const A& a, const B& b) {
  REQUIRE(std::size(a) == std::size(b));
  double error = 0, largest = 0;
  for (std::size_t i = 0; i < std::size(b); ++i) {
    error = std::max(error, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return error / largest;
}

void check_against_torch(const std::string& name, nn::Model& model) {
  const Fixture fixture(name);
  const nn::FileShape batches = fixture.entry("tokens").shape;  // [steps, B, T]
  const std::int64_t steps = batches[0], B = batches[1], T = batches[2];
  const std::vector<std::int32_t> tokens = fixture.raw<std::int32_t>("tokens");
  const std::vector<std::int32_t> targets = fixture.raw<std::int32_t>("targets");
  fixture.load_weights(model.params());
  model.params().allocate_gradients();
  Graph graph;

  const nn::Tokens window{std::span(tokens).first(static_cast<std::size_t>(T)), 1, T};
  graph.begin(Graph::Mode::inference);
  const Var logits = model.logits(graph, window);
  CHECK(difference(logits.value().flat(), fixture.raw<float>("logits")) < kTolerance);

  graph.begin(Graph::Mode::training);
  graph.backward(model.loss(graph, {window, std::span(targets).first(window.ids.size())}));
  for (const Param& p : model.params().params()) {
    CAPTURE(p.name);
    CHECK(difference(p.grad.flat(), fixture.gradient(p.name)) < kTolerance);
  }

  const std::vector<double> losses = fixture.raw<double>("losses");
  const std::vector<double> norms = fixture.raw<double>("norms");
  const std::vector<double> lr = fixture.raw<double>("lr");
  const optim::Schedule schedule{.lr = 3e-3, .min_lr = 3e-4, .warmup = 5, .steps = steps};
  optim::AdamW adamw(optim::decay_matrices(model.params(), 0.1), {.beta1 = 0.9, .beta2 = 0.99});
  for (std::int64_t s = 0; s < steps; ++s) {
    CAPTURE(s);
    const auto at = static_cast<std::size_t>(s), n = static_cast<std::size_t>(B * T);
    model.params().zero_gradients();
    graph.begin(Graph::Mode::training);
    const Var loss = model.loss(graph, {{std::span(tokens).subspan(at * n, n), B, T},
                                        std::span(targets).subspan(at * n, n)});
    CHECK(loss.item() == Approx(losses[at]).epsilon(kTolerance));
    graph.backward(loss);
    const optim::GradNorm norm = optim::grad_norm(adamw.groups(), 1);
    CHECK(norm.norm == Approx(norms[at]).epsilon(kTolerance));
    // The fixture's warm-up begins with an idle step; ours does not. The decays are the same.
    if (s >= schedule.warmup) CHECK(schedule(s) == Approx(lr[at]).epsilon(1e-12));
    adamw.step(lr[at], norm.scale);
  }
}

TEST_CASE("a tied GPT with biases and tanh GELU trains as PyTorch's") {
  nn::Gpt model({.vocab_size = 40,
                 .block_size = 16,
                 .n_layer = 2,
                 .n_head = 2,
                 .n_embd = 32,
                 .bias = true,
                 .gelu = Gelu::tanh,
                 .tie_embeddings = true});
  check_against_torch("gpt_tanh_tied", model);
}

TEST_CASE("an untied GPT with exact GELU and no biases trains as PyTorch's") {
  nn::Gpt model({.vocab_size = 40,
                 .block_size = 32,
                 .n_layer = 3,
                 .n_head = 4,
                 .n_embd = 64,
                 .bias = false,
                 .gelu = Gelu::exact,
                 .tie_embeddings = false});
  check_against_torch("gpt_exact_untied", model);
}

TEST_CASE("a tied Llama with grouped queries trains as PyTorch's") {
  nn::Llama model({.vocab_size = 40,
                   .block_size = 16,
                   .n_layer = 2,
                   .n_head = 4,
                   .n_kv_head = 2,
                   .n_embd = 32,
                   .n_inner = 48,
                   .rope_theta = 100,
                   .tie_embeddings = true});
  check_against_torch("llama_grouped_tied", model);
}

TEST_CASE("an untied Llama with as many heads of keys trains as PyTorch's") {
  nn::Llama model({.vocab_size = 40,
                   .block_size = 20,
                   .n_layer = 2,
                   .n_head = 3,
                   .n_kv_head = 3,
                   .n_embd = 24,
                   .n_inner = 40,
                   .rms_norm_eps = 1e-3});
  check_against_torch("llama_untied", model);
}

}  // namespace torch_fixture_test
