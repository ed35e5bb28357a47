// QuEST: rotated weights in training are those that ship, inputs are rotated alike, and what it refuses.
#include <algorithm>
#include <cmath>

#include "quant/methods/hadamard.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/tiny_models.h"

namespace quest_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

struct Quantizing {
  AnyModel model{};
  std::unique_ptr<FakeQuantizer> fake{};
};

Quantizing attach(AnyModel model, const Spec& spec, bool rounds_inputs = false) {
  Quantizing q{.model = std::move(model)};
  Plan plan{.weights = spec, .table = Spec{.bits = 6}};
  if (rounds_inputs) plan.activations = ActivationSpec{};
  q.fake = std::make_unique<FakeQuantizer>(q.model.get(), Training::gaussian,
                                           resolve(plan, q.model.get()), QatOptions{});
  return q;
}

AnyModel gpt(bool tied = true) {
  return any_model([=] { return make_gpt(config_of(tied, true)); });
}

TEST_CASE("a model that QuEST trains is the model that ships") {
  for (const bool rounds_inputs : {false, true}) {
    for (const Spec& spec :
         {Spec{.bits = 4}, Spec{.bits = 2, .grid = GridKind::seq, .scale = ScaleType::f16},
          Spec{.bits = 4,
          .granularity = Granularity::group,
          .group_size = 4,
          .scale = ScaleType::bf16},
          Spec{.bits = 3, .granularity = Granularity::tensor}}) {
      for (const AnyModel& kind : {gpt(), gpt(false), any_model([] { return make_llama(); })}) {
        INFO(name_of(spec) << (rounds_inputs ? " with 8-bit inputs" : ""));
        Quantizing q = attach(copy_of(kind), spec, rounds_inputs);
        const std::vector<double> losses = train(q.model.get(), nullptr, Text(3), 20);
        CHECK(losses.back() < losses.front());
        const TemporaryDirectory dir;
        save_quantized(q.model.get(), q.fake->convert(), dir.path());
        const LoadedModel read = load_any(dir.path());
        const Text text(9);
        CHECK(same_bits(logits_of(q.model.get(), text), logits_of(*read.model, text)));
        for (const NamedQTensor& t : read.tensors) {
          const bool in_block =
              t.name.find("attn") != std::string::npos || t.name.find("mlp") != std::string::npos;
          CHECK(t.change.signs ==
                (in_block ? rotation_signs(t.q.cols) : std::vector<std::int8_t>{}));
        }
      }
    }
  }
}

TEST_CASE("with many bits rotated weights and inputs cancel") {
  const AnyModel original = gpt();
  const Text text(9);
  const std::vector<real> expected = logits_of(original.get(), text);
  const Quantizing q = attach(copy_of(original), {.bits = 8});
  const std::vector<real> got = logits_of(q.model.get(), text);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double(got[i]) - double(expected[i]), 2);
    size += std::pow(double(expected[i]), 2);
  }
  CHECK(difference < 2e-3 * size);
  CHECK(difference > 0);
}

TEST_CASE("QuEST takes no zero points and no codes of other weights") {
  CHECK(error_of([] { attach(gpt(), {.bits = 4, .grid = GridKind::asymmetric}); }).fault ==
        Fault::usage);
  AnyModel model = gpt();
  const std::vector<Target> targets = resolve({.weights = {.bits = 4}}, model.get());
  const Quantized codes = post_training(model.get(), method("rtn"), targets, {}, {});
  CHECK(error_of([&] {
          FakeQuantizer(model.get(), Training::gaussian, targets, QatOptions{}, &codes);
        }).fault == Fault::usage);
}

}  // namespace quest_test
