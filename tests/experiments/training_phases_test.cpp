// Training phases: resumed ones, accumulated batches, faults, threads, and what a step reports.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "autograd/base/files.h"
#include "autograd/base/thread_pool.h"
#include "experiments/train/training_phase.h"
#include "nn/checkpoint.h"
#include "quant/methods/calibration.h"
#include "quant/train/diagnostics.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace notch::experiments::training_phases_test {

using test::error_of;
using test::make_gpt;
using test::same_bits;
using test::tiny_config;
using test::values_of;

std::vector<std::int32_t> learnable_tokens(std::size_t n) {
  Rng rng(7, 1);
  std::vector<std::int32_t> tokens;
  std::uint64_t token = 0;
  while (tokens.size() < n) {
    token = rng.below(4) == 0 ? rng.below(11) : (3 * token + 1) % 11;
    tokens.push_back(static_cast<std::int32_t>(token));
  }
  return tokens;
}

TrainSettings settings_of(std::int64_t steps) {
  return {.phase = "phase",
          .schedule = {.lr = 3e-3, .min_lr = 3e-4, .warmup = 2, .steps = steps},
          .batch_size = 4,
          .seed = 11,
          .checkpoint_every = 3};
}

/// A way to train: what compare() hands to fit() for a row.
struct Arm {
  std::string name{};
  TrainSettings settings = settings_of(8);
  std::optional<quant::Training> training{};
  bool distilled = false;
  double dropout = 0;
  quant::QatOptions qat{};
  bool rounds_inputs = false;  // static ranges
};

std::vector<Arm> arms() {
  std::vector<Arm> all;
  all.push_back({.name = "fp32"});
  all.push_back({.name = "dropout", .dropout = 0.2});
  all.push_back({.name = "ste", .training = quant::Training::ste});
  all.push_back({.name = "lsq", .training = quant::Training::lsq});
  all.push_back({.name = "lsq-kd", .training = quant::Training::lsq, .distilled = true});
  all.push_back({.name = "ema"});
  all.back().settings.ema = 0.7;
  all.push_back({.name = "lsq-ema", .training = quant::Training::lsq});
  all.back().settings.ema = 0.7;
  all.push_back({.name = "freezing", .training = quant::Training::lsq});
  all.back().qat = {.freeze = 0.01, .dampen = 0.1, .cage = 20};
  all.push_back({.name = "lsq-inputs", .training = quant::Training::lsq, .rounds_inputs = true});
  all.push_back({.name = "pact", .training = quant::Training::ste, .rounds_inputs = true});
  all.back().qat = {.inputs = quant::InputLearning::pact};
  all.push_back({.name = "part", .training = quant::Training::ste});
  all.back().settings = settings_of(9);
  all.back().settings.first_step = 1;
  all.push_back({.name = "accumulation"});
  all.back().settings.grad_accum = 3;
  all.push_back({.name = "sgd"});
  all.back().settings.sgd = true;
  all.push_back({.name = "sequential"});
  all.back().settings.order = data::Order::sequential;
  return all;
}

struct Outcome {
  bool finished = false;
  std::int64_t resumed_at = 0, steps = 0;  ///< updates done at the beginning and at the end
  double loss = 0;
};

using AfterStep = std::function<void(TrainingPhase&, const UpdateReport&)>;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// One session of an arm: everything is made anew from the same fork, as a new process would.
class Session {
 public:
  explicit Session(const Arm& arm) : settings_(arm.settings) {
    nn::GptConfig config = tiny_config();
    config.dropout = arm.dropout;
    model_ = make_gpt(config);
    if (arm.distilled) teacher_ = make_gpt(config);
    if (!arm.training) return;
    nn::Model& view = *model_;
    const quant::Spec spec{.bits = 3};
    quant::Plan plan{.weights = spec, .table = spec};
    if (arm.rounds_inputs) {
      plan.activations = quant::ActivationSpec{.bits = 4, .range = quant::ActivationRange::fixed};
    }
    std::vector<quant::Target> targets = quant::resolve(plan, view);
    const std::vector<std::int32_t> text(tokens_.begin(), tokens_.begin() + config.block_size);
    quant::calibrate(view, targets, std::vector{nn::Tokens{text, 1, config.block_size}});
    fake_ = std::make_unique<quant::FakeQuantizer>(view, *arm.training, targets, arm.qat);
    additions_.push_back(fake_.get());
    if (arm.settings.remark_every > 0) {
      diagnostics_ = std::make_unique<quant::Diagnostics>(*fake_);
      additions_.push_back(diagnostics_.get());
    }
  }

  /// To the end of the phase, or to a stop where `stop` updates are done, as fit() has it.
  Outcome run(const fs::path& checkpoints = {}, std::int64_t stop = kNever,
              const AfterStep& after_step = {}) {
    TrainingPhase phase(settings_, {.model = *model_,
                                    .tokens = tokens_,
                                    .additions = additions_,
                                    .teacher = teacher_.get(),
                                    .temperature = 2,
                                    .alpha = 0.7,
                                    .checkpoints = checkpoints});
    phase.resume();
    const std::int64_t resumed_at = phase.done();
    while (phase.done() < std::min(stop, phase.steps())) {
      const UpdateReport update = phase.step();
      if (after_step) after_step(phase, update);
      if (phase.due(settings_.checkpoint_every)) phase.save();
    }
    const bool finished = phase.done() == phase.steps();
    if (!finished) phase.save();
    if (finished && phase.ema()) phase.ema()->take();
    return {finished, resumed_at, phase.done(), phase.loss()};
  }

  /// Parameters, and what the quantizer ships.
  std::vector<real> state() const {
    std::vector<real> all = values_of(model_->params());
    if (!fake_) return all;
    const std::vector<real> steps = values_of(fake_->params());
    all.insert(all.end(), steps.begin(), steps.end());
    for (const quant::NamedQTensor& t : fake_->convert().tensors) {
      std::vector<real> shipped(model_->params().find(t.name)->value.flat().size());
      quant::dequantize(t.q, shipped);
      all.insert(all.end(), shipped.begin(), shipped.end());
    }
    return all;
  }

  nn::Gpt& model() { return *model_; }

 private:
  TrainSettings settings_;
  std::vector<std::int32_t> tokens_ = learnable_tokens(500);
  std::unique_ptr<nn::Gpt> model_{}, teacher_{};
  std::unique_ptr<quant::FakeQuantizer> fake_{};
  std::unique_ptr<quant::Diagnostics> diagnostics_{};
  std::vector<nn::Addition*> additions_{};
};

TEST_CASE("A phase stopped and resumed ends in the same bits") {
  for (const Arm& arm : arms()) {
    Session whole(arm);
    const std::vector<real> start = whole.state();
    const Outcome expected = whole.run();
    REQUIRE(expected.finished);
    REQUIRE_FALSE(same_bits(whole.state(), start));
    // Everything that has state of its own in every place (3 is a checkpoint), the rest in one:
    // each checkpoint waits for the disk.
    const bool everywhere = arm.name == "fp32" || arm.name == "lsq-ema";
    for (const std::int64_t stop :
         everywhere ? std::vector<std::int64_t>{0, 1, 3, 4, 7} : std::vector<std::int64_t>{4}) {
      INFO(arm.name << ", stopped after " << stop);
      const test::TemporaryDirectory directory;
      const Outcome stopped = Session(arm).run(directory / "ckpt", stop);
      CHECK_FALSE(stopped.finished);
      CHECK(stopped.steps == stop);
      CHECK(nn::latest_checkpoint(directory / "ckpt").step == stop);
      Session again(arm);
      const Outcome outcome = again.run(directory / "ckpt");
      CHECK(outcome.resumed_at == stop);
      CHECK(outcome.finished);
      CHECK(outcome.steps == 8);
      CHECK(outcome.loss == expected.loss);
      CHECK(same_bits(again.state(), whole.state()));
    }
  }
}

TEST_CASE("Watching a quantizer changes no bit, also when resumed") {
  for (Arm arm : arms()) {
    if (arm.name != "ste" && arm.name != "lsq-kd" && arm.name != "lsq-ema") continue;
    Session unwatched(arm);
    unwatched.run();
    arm.settings.remark_every = 3;
    const auto listen_to = [](std::vector<std::string>& said) {
      return [&said](TrainingPhase& phase, const UpdateReport& update) {
        if (!phase.due(3)) return;
        const Json remarks = phase.remarks();
        CHECK(remarks.find("quantizer"));
        said.push_back(str(update.step, ' ', remarks.dump()));
      };
    };
    std::vector<std::string> expected;
    Session whole(arm);
    whole.run({}, kNever, listen_to(expected));
    INFO(arm.name);
    CHECK(same_bits(whole.state(), unwatched.state()));
    CHECK(expected.size() == 3);  // after 3, 6 and all 8 steps

    const test::TemporaryDirectory directory;
    std::vector<std::string> said;
    Session(arm).run(directory / "ckpt", 4, listen_to(said));
    Session(arm).run(directory / "ckpt", kNever, listen_to(said));
    CHECK(said == expected);
  }
}

TEST_CASE("A dead phase goes on from its last checkpoint") {
  for (const Arm& arm : arms()) {
    if (arm.name != "accumulation" && arm.name != "lsq-kd" && arm.name != "ema") continue;
    INFO(arm.name);
    Session whole(arm);
    whole.run();
    const test::TemporaryDirectory directory;
    const auto dies = [](TrainingPhase&, const UpdateReport& u) {
      if (u.step == 5) throw std::runtime_error("power cut");
    };
    CHECK_THROWS(Session(arm).run(directory / "ckpt", kNever, dies));
    Session again(arm);
    CHECK(again.run(directory / "ckpt").resumed_at == 3);
    CHECK(same_bits(again.state(), whole.state()));
  }
}

TEST_CASE("A damaged checkpoint is skipped, a finished phase found") {
  const Arm arm = arms().at(5);  // averaged weights: those of the end are not in any checkpoint
  const test::TemporaryDirectory directory;
  Session whole(arm);
  const Outcome expected = whole.run(directory / "ckpt");

  Session found(arm);
  const Outcome outcome = found.run(directory / "ckpt");
  CHECK(outcome.resumed_at == 8);
  CHECK(outcome.loss == expected.loss);
  CHECK(same_bits(found.state(), whole.state()));

  const fs::path newest = directory / "ckpt" / "step-000008" / "optimizer.safetensors";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  Session again(arm);
  CHECK(again.run(directory / "ckpt").resumed_at == 6);
  CHECK(same_bits(again.state(), whole.state()));
}

TEST_CASE("A checkpoint of another phase is refused") {
  const test::TemporaryDirectory directory;
  Arm arm{.name = "fp32"};
  Session(arm).run(directory / "ckpt");
  arm.settings.phase = "other";
  const ErrorParts parts = error_of([&] { Session(arm).run(directory / "ckpt"); });
  CHECK(parts.fault == Fault::input);
  CHECK(parts.found == "phase");
  CHECK(parts.expected == "other");
}

TEST_CASE("Without a directory nothing is written, and stops work") {
  const Outcome outcome = Session({}).run({}, 2);
  CHECK_FALSE(outcome.finished);
  CHECK(outcome.steps == 2);
}

TEST_CASE("Two accumulated batches of 4 are one batch of 8") {
  // Sequential order: both see the same eight windows per step. Plain SGD, so that a difference of
  // rounding is not divided by itself. Gradients below 1 in size, sums of fewer than 2^8 terms in
  // single precision (2^-24 each), a step of 0.05, 10 updates of momentum 0.5 (a factor of 2):
  // 2^8 · 2^-24 · 0.05 · 10 · 2 < 2e-5.
  Arm two{.name = "two"}, one{.name = "one"};
  for (Arm* arm : {&two, &one}) {
    arm->settings.order = data::Order::sequential;
    arm->settings.sgd = true;
    arm->settings.momentum = 0.5;
    arm->settings.schedule = {.lr = 0.05, .min_lr = 0.05, .steps = 10};
  }
  two.settings.grad_accum = 2;
  one.settings.batch_size = 8;
  Session a(two), b(one);
  const std::vector<real> start = a.state();
  const Outcome of_two = a.run(), of_one = b.run();
  CHECK(of_two.loss == Approx(of_one.loss).epsilon(1e-5));
  const std::vector<real> x = a.state(), y = b.state();
  double apart = 0, moved = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    apart = std::max(apart, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
    moved = std::max(moved, std::abs(static_cast<double>(x[i]) - static_cast<double>(start[i])));
  }
  CHECK(apart < 2e-5);
  CHECK(moved > 1e-2);
}

TEST_CASE("A NaN in the weights stops the phase and is named") {
  const test::TemporaryDirectory directory;
  for (const Arm& arm : arms()) {
    if (arm.training) continue;  // a quantizer refuses a NaN before it trains
    INFO(arm.name);
    Session session(arm);
    session.model().params().find("h.1.mlp.c_fc.weight")->value.flat()[5] =
        std::numeric_limits<real>::quiet_NaN();
    const std::vector<real> before = session.state();
    const ErrorParts parts = error_of([&] { session.run(directory / "ckpt"); });
    CHECK(parts.fault == Fault::numeric);
    CHECK(parts.where == "phase");
    CHECK(parts.what.find("step 0") != std::string::npos);
    CHECK_FALSE(parts.field.empty());
    CHECK(same_bits(session.state(), before));
    CHECK_FALSE(nn::latest_checkpoint(directory / "ckpt").path);
  }
}

TEST_CASE("A learning rate that blows up is a numeric fault") {
  for (const bool sgd : {false, true}) {
    Arm arm{.name = "fp32"};
    arm.settings.sgd = sgd;
    arm.settings.clip = 0;
    arm.settings.schedule = {.lr = 1e30, .min_lr = 1e30, .steps = 8};
    Session session(arm);
    std::vector<real> last;
    std::int64_t steps = 0;
    const auto watch = [&](TrainingPhase&, const UpdateReport& u) {
      last = session.state();
      steps = u.step;
    };
    const ErrorParts parts = error_of([&] { session.run({}, kNever, watch); });
    CHECK(parts.fault == Fault::numeric);
    CHECK(parts.where == "phase");
    CHECK(parts.hint.find("train.lr") != std::string::npos);
    CHECK(steps >= 1);
    CHECK(same_bits(session.state(), last));
  }
}

TEST_CASE("One, two and three threads train to the same bits") {
  const int before = threads();
  const std::vector<std::int32_t> tokens = learnable_tokens(2000);
  const nn::GptConfig config{
      .vocab_size = 11, .block_size = 32, .n_layer = 2, .n_head = 4, .n_embd = 64, .dropout = 0.1};
  std::vector<real> expected;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    const auto model = make_gpt(config);
    const auto teacher = make_gpt(config);
    nn::Model& view = *model;
    quant::FakeQuantizer fake(view, quant::Training::lsq,
                              quant::resolve({.weights = {.bits = 4}}, view), {});
    TrainSettings settings = settings_of(4);
    settings.batch_size = 8;
    TrainingPhase phase(
        settings,
        {.model = *model, .tokens = tokens, .additions = {&fake}, .teacher = teacher.get()});
    while (phase.done() < phase.steps()) phase.step();
    std::vector<real> values = values_of(model->params());
    const std::vector<real> steps = values_of(fake.params());
    values.insert(values.end(), steps.begin(), steps.end());
    if (expected.empty()) expected = values;
    INFO(n << " threads");
    CHECK(same_bits(values, expected));
  }
  set_threads(before);
}

TEST_CASE("A step reports what it did") {
  Arm arm{.name = "fp32"};
  arm.settings.grad_accum = 2;
  std::vector<std::int64_t> steps, due;
  Session(arm).run({}, kNever, [&](const TrainingPhase& phase, const UpdateReport& u) {
    steps.push_back(u.step);
    if (phase.due(3)) due.push_back(u.step);
    CHECK(phase.due(0) == (u.step == 8));
    CHECK(u.tokens == 2 * 4 * 8);
    CHECK(u.lr == Approx(arm.settings.schedule(u.step - 1)).margin(1e-12));
    CHECK(u.grad_norm > 0);
    CHECK(u.loss == phase.loss());
  });
  CHECK(steps == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(due == std::vector<std::int64_t>{3, 6, 8});
}

}  // namespace notch::experiments::training_phases_test
