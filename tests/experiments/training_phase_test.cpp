// What a training phase shows its model: the text of a step, and of the figures about that step.
#include "experiments/train/training_phase.h"

#include <limits>

#include "autograd/kernels/bf16_matmul.h"
#include "quant/methods/methods.h"
#include "quant/train/diagnostics.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"
#include "tests/random_ids.h"

namespace notch::experiments::training_phase_test {

using test::make_gpt;

std::vector<std::int32_t> random_corpus() { return test::random_ids(900, 11, 3, 1); }

/// All tokens that a model is shown, pass after pass.
class Watcher {
 public:
  explicit Watcher(nn::Gpt& model) {
    link_ = model.hooks().embedding_chain.attach(
        [this](Graph& g, const nn::Embedding& table, const nn::Tokens& tokens, const auto& next) {
          seen_.emplace_back(tokens.ids.begin(), tokens.ids.end());
          return next(g, table, tokens);
        });
  }
  const std::vector<std::vector<std::int32_t>>& seen() const { return seen_; }

 private:
  std::vector<std::vector<std::int32_t>> seen_{};
  nn::Attachment link_{};
};

TEST_CASE("figures about a step see its text also on a late start") {
  const std::vector<std::int32_t> tokens = random_corpus();
  for (const std::int64_t first : {0, 5}) {
    const auto model = make_gpt();
    nn::Model& view = *model;
    const auto targets = quant::resolve({.weights = {.bits = 4}}, view);
    quant::FakeQuantizer fake(view, quant::Training::ste, targets, {});
    quant::Diagnostics diagnostics(fake);
    TrainSettings settings{.phase = "phase",
                           .schedule = {.lr = 1e-3, .min_lr = 1e-4, .steps = 20},
                           .batch_size = 8,
                           .grad_accum = 2,
                           .seed = 11};
    settings.first_step = first;
    TrainingPhase phase(settings,
                        {.model = *model, .tokens = tokens, .additions = {&fake, &diagnostics}});
    phase.step();
    phase.step();
    const Watcher watcher(*model);
    phase.remarks();
    REQUIRE_FALSE(watcher.seen().empty());
    // The first windows of the step's first batch: a quarter of them.
    std::vector<std::int32_t> inputs(8 * 8), targets_of(8 * 8);
    const data::BatchSpec spec{.B = 8, .T = 8, .seed = 11, .micro_steps = 2};
    data::batch(tokens, spec, first + 1, 0, inputs, targets_of);
    inputs.resize(2 * 8);
    for (const auto& ids : watcher.seen()) CHECK(ids == inputs);
  }
}

/// The gradients of the last step, and those it was shown when it was asked what there is to say.
class Gradients final : public nn::Addition {
 public:
  explicit Gradients(nn::Model& model) : model_(model) {}
  void before_update(double) override { trained = now(); }
  std::optional<nn::Remark> remark(const std::function<void()>& gradients, std::uint64_t) override {
    gradients();
    shown = now();
    return std::nullopt;
  }
  std::vector<real> trained{}, shown{};

 private:
  std::vector<real> now() const {
    std::vector<real> all;
    for (const Param& p : model_.params().params())
      all.insert(all.end(), p.grad.flat().begin(), p.grad.flat().end());
    return all;
  }
  nn::Model& model_;
};

TEST_CASE("figures about a step have its precision") {
  if (!kernels::bf16_available()) return;
  const std::vector<std::int32_t> tokens = random_corpus();
  std::vector<std::vector<real>> all;
  for (const auto precision : {kernels::Precision::full, kernels::Precision::bf16}) {
    const auto model = make_gpt();
    Gradients gradients(*model);
    // Weights that stay, and a batch of which a quarter is all of it.
    TrainingPhase phase({.phase = "phase",
                         .schedule = {.lr = 1e-30, .min_lr = 1e-30, .steps = 2},
                         .batch_size = 1,
                         .seed = 11,
                         .precision = precision},
                        {.model = *model, .tokens = tokens, .additions = {&gradients}});
    phase.step();
    phase.remarks();
    REQUIRE_FALSE(gradients.trained.empty());
    CHECK(gradients.shown == gradients.trained);
    all.push_back(gradients.trained);
  }
  CHECK(all[0] != all[1]);
}

TEST_CASE("an overflow in half precision is explained in it") {
  if (!kernels::bf16_available()) return;
  const std::vector<std::int32_t> tokens = random_corpus();
  nn::GptConfig config = test::tiny_config();
  config.tie_embeddings = false;
  const auto model = make_gpt(config);
  // As bfloat16 infinite; its channel is 0.
  model->params().find("lm_head.weight")->value.flat()[0] = std::numeric_limits<real>::max();
  for (const char* name : {"ln_f.weight", "ln_f.bias"})
    model->params().find(name)->value.flat()[0] = 0;
  TrainingPhase phase({.phase = "phase",
                       .schedule = {.lr = 1e-3, .steps = 2},
                       .batch_size = 1,
                       .precision = kernels::Precision::bf16},
                      {.model = *model, .tokens = tokens});
  const ErrorParts e = test::error_of([&] { phase.step(); });
  CAPTURE(e.what);
  CHECK(e.fault == Fault::numeric);
  CHECK(e.what.find("first bad: lm_head: value of ") != std::string::npos);
}

}  // namespace notch::experiments::training_phase_test
