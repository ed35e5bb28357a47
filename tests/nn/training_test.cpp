// Training: small models learn one batch by heart, no number of threads changes a bit, and a step
// that repeats asks nothing of the heap.

#include <algorithm>
#include <cmath>
#include <thread>

#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/adamw.h"
#include "nn/generate.h"
#include "nn/gpt.h"
#include "nn/mlp.h"
#include "nn/reader.h"
#include "tests/catch.h"
#include "tests/count_allocations.h"
#include "tests/random_ids.h"

namespace notch::nn::training_test {

constexpr auto kTraining = Graph::Mode::training;
constexpr auto kInference = Graph::Mode::inference;
using test::random_ids;
using Reals = std::vector<real>;
using Ids = std::vector<std::int32_t>;

/// AdamW over a store, with the moments beside it.
class Adam {
 public:
  explicit Adam(ParamStore& params) : params_(params) {
    params.allocate_gradients();
    for (const Param& p : params.params())
      moments_.push_back({Reals(p.value.flat().size()), Reals(p.value.flat().size())});
  }
  void step(double lr) {
    ++t_;
    std::size_t i = 0;
    for (Param& p : params_.params()) {
      kernels::adamw(p.value.flat(), moments_[i].m, moments_[i].v, p.grad.flat(),
                     {.lr = lr,
                      .bias_correction1 = 1 - std::pow(0.9, t_),
                      .bias_correction2 = 1 - std::pow(0.999, t_)});
      ++i;
    }
    params_.zero_gradients();
  }

 private:
  struct Moments {
    Reals m, v;
  };
  ParamStore& params_;
  std::vector<Moments> moments_;
  int t_ = 0;
};

/// The loss of one batch after `steps` steps on nothing but it.
double memorise(Model& model, const Batch& batch, int steps, double lr) {
  Adam adam(model.params());
  Graph g;
  double loss = 0;
  for (int i = 0; i < steps; ++i) {
    g.begin(kTraining, static_cast<std::uint64_t>(i));
    const Var l = model.loss(g, batch);
    loss = l.item();
    g.backward(l);
    adam.step(lr);
  }
  return loss;
}

TEST_CASE("a tiny Gpt learns one batch by heart") {
  Gpt model({.vocab_size = 20, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 32});
  model.init(1);
  const Ids ids = random_ids(32, 20, 5), targets = random_ids(32, 20, 6);  // nothing to infer
  CHECK(memorise(model, {{ids, 4, 8}, targets}, 200, 3e-3) < 0.05);
}

TEST_CASE("an Mlp learns which token follows which") {
  Mlp model({.vocab_size = 16});
  model.init(1);
  Ids ids(16), targets(16);
  for (std::int32_t i = 0; i < 16; ++i) {
    ids[static_cast<std::size_t>(i)] = i;
    targets[static_cast<std::size_t>(i)] = i * 5 % 16;
  }
  CHECK(memorise(model, {{ids, 1, 16}, targets}, 200, 1e-2) < 0.05);
}

TEST_CASE("no number of threads changes a bit of loss, gradients or logits") {
  // 640 rows: two tiles of every product; 40 heads: more than the workspaces of attention.
  const GptConfig config{
      .vocab_size = 600, .block_size = 80, .n_layer = 2, .n_head = 5, .n_embd = 40, .dropout = 0.1};
  Gpt model(config);
  model.init(1);
  model.params().allocate_gradients();
  const Ids ids = random_ids(640, 600, 5), targets = random_ids(640, 600, 6);
  const Batch batch{{ids, 8, 80}, targets};
  Reals first_logits, first_gradients;
  real first_loss = 0;
  const int before = threads();
  for (const int n : {1, 2, 3, 7}) {
    set_threads(n);
    Graph g;
    model.params().zero_gradients();
    g.begin(kTraining, 4);
    const Var l = model.loss(g, batch);
    const real loss = l.item();
    g.backward(l);
    Reals gradients;
    for (const Param& p : model.params().params())
      gradients.insert(gradients.end(), p.grad.flat().begin(), p.grad.flat().end());
    g.begin(kInference);
    const auto y = model.logits(g, batch.tokens).value().flat();
    const Reals logits(y.begin(), y.end());
    if (n == 1) {
      first_loss = loss;
      first_gradients = gradients;
      first_logits = logits;
    }
    INFO(n << " threads");
    CHECK(loss == first_loss);
    CHECK((gradients == first_gradients));  // parentheses: no printout of 80,000 numbers
    CHECK((logits == first_logits));
  }
  set_threads(before);
}

// What a forward pass writes into the model is seldom seen in values: ThreadSanitizer sees it
// (NOTCH_SANITIZE=thread).
TEST_CASE("several threads may read one model, each with a graph of its own") {
  Gpt model({.vocab_size = 40, .block_size = 16, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model.init(1);
  const Ids ids = random_ids(16, 40, 5);
  const auto logits = [&] {
    Graph g;
    g.begin(kInference);
    const auto y = model.logits(g, {ids, 1, 16}).value().flat();
    return Reals(y.begin(), y.end());
  };
  const Reals alone = logits();
  std::vector<int> wrong(4);
  std::vector<std::thread> readers;
  for (int& count : wrong) {
    readers.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        try {
          count += logits() != alone;
        } catch (const Error&) {
          ++count;
        }
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == std::vector<int>(4));
}

#ifndef NOTCH_SANITIZED
TEST_CASE("from the second step on, training asks nothing of the heap") {
  const GptConfig config{
      .vocab_size = 300, .block_size = 32, .n_layer = 2, .n_head = 2, .n_embd = 16, .dropout = 0.1};
  Gpt model(config), teacher_model(config);
  model.init(1);
  teacher_model.init(2);
  const auto link = model.hooks().weight_chain.attach(
      [](Graph& g, Param& p, const auto& next) { return scale(next(g, p), 1.5); });
  Adam adam(model.params());
  const Ids ids = random_ids(128, 300, 5), targets = random_ids(128, 300, 6);
  const Batch batch{{ids, 4, 32}, targets};
  Graph g, teacher_graph;
  const auto step = [&](std::uint64_t i) {
    teacher_graph.begin(kInference);
    const Tensor seen = teacher_model.hidden(teacher_graph, batch.tokens).value();
    g.begin(kTraining, i);
    g.backward(model.loss(g, batch, Teacher{seen, teacher_model.head().weight->value, 2, 0.5}));
    adam.step(1e-3);
  };
  const int before = threads();
  set_threads(2);
  // Two steps to settle: the teacher's inference makes its plan at the start of its second run.
  step(0);
  g.begin(kTraining);
  step(1);
  const std::size_t reserved = g.arena().bytes_reserved(), peak = g.arena().peak_bytes();
  const auto four_steps = [&] {
    for (std::uint64_t i = 2; i < 6; ++i) step(i);
  };
  CHECK(test::allocations_of(four_steps) == 0);
  CHECK(g.arena().bytes_reserved() == reserved);
  CHECK(g.arena().peak_bytes() == peak);
  set_threads(before);
}

TEST_CASE("the second training step of a Gpt already asks nothing of the heap") {
  Gpt model({.vocab_size = 300, .block_size = 32, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model.init(1);
  Adam adam(model.params());
  const Ids ids = random_ids(128, 300, 5), targets = random_ids(128, 300, 6);
  Graph g;
  const auto step = [&](std::uint64_t i) {
    g.begin(kTraining, i);
    g.backward(model.loss(g, {{ids, 4, 32}, targets}));
    adam.step(1e-3);
  };
  step(0);
  CHECK(test::allocations_of([&] { step(1); }) == 0);
  CHECK(test::allocations_of([&] { step(2); }) == 0);
  std::vector<int> grows;
  CHECK(test::allocations_of([&] { grows.resize(1); }) == 1);  // the counter counts
}

TEST_CASE("a decoded token asks nothing of the heap, from the third on") {
  Gpt model({.vocab_size = 300, .block_size = 64, .n_layer = 2, .n_head = 2, .n_embd = 16});
  model.init(1);
  Fp32KvCache cache(kv_shape(model.sizes()));
  Reader reader(model, cache);
  Sampler sampler({.top_k = 40, .top_p = 0.9});
  Rng rng(1);
  std::int32_t token = 7;
  const auto step = [&] { token = sampler.draw(reader.read({&token, 1}), rng); };
  reader.read(random_ids(20, 300, 5));
  step();
  step();
  CHECK(test::allocations_of([&] {
          for (int i = 0; i < 30; ++i) step();
        }) == 0);
}
#endif

}  // namespace notch::nn::training_test
