// What a training phase shows its model: the text of a step, and of the figures about that step.
#include "experiments/train/training_phase.h"

#include "quant/methods/methods.h"
#include "quant/train/diagnostics.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::training_phase_test {

using test::make_gpt;

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
  std::vector<std::uint16_t> tokens;
  Rng rng(3, 1);
  for (int i = 0; i < 900; ++i) tokens.push_back(static_cast<std::uint16_t>(rng.below(11)));
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

}  // namespace notch::experiments::training_phase_test
