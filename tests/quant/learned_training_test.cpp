// Training on levels of the matrix's own: what is trained is what ships, from its own levels or from those of
// a method, and what does not go with them is refused.
#include <algorithm>

#include "quant/methods/methods.h"
#include "quant/train/quantized_training.h"
#include "quant/train/warm_start.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace learned_training_test {

using namespace notch;
using namespace notch::quant;
using test::same_bits;
using test::Text;

Plan plan_of(const Spec& spec) { return {.weights = spec, .table = Spec{.bits = 6}}; }

std::vector<Spec> specs() {
  std::vector<Spec> all;
  for (const int bits : {2, 4}) {
    all.push_back({.bits = bits, .grid = GridKind::learned, .scale = ScaleType::f16});
    all.push_back({.bits = bits,
                   .grid = GridKind::learned,
                   .granularity = Granularity::group,
                   .group_size = 6});
  }
  return all;
}

void check_parity(const nn::Model& model, FakeQuantizer& quantizer) {
  const Quantized integers = quantizer.convert();
  const auto shipped = nn::clone(model);
  test::put_dequantized(integers, shipped->params());
  const Text text(7);
  CHECK(same_bits(test::logits_of(model, text), test::logits_of(*shipped, text)));
}

TEST_CASE("training on learned levels computes with what ships") {
  for (const Training training : {Training::ste, Training::lsq}) {
    for (const Spec& spec : specs()) {
      INFO(name_of(spec) << (training == Training::ste ? " ste" : " lsq"));
      const auto model = test::make_gpt();
      const std::vector<Target> targets = resolve(plan_of(spec), *model);
      FakeQuantizer quantizer(*model, training, targets, {});
      check_parity(*model, quantizer);
      const Quantized start = quantizer.convert();
      const double before = test::train(*model, &quantizer.params(), Text(3), 1)[0];
      double after = 0;
      for (int i = 0; i < 30; ++i) {
        after = test::train(*model, &quantizer.params(), Text(3), 1)[0];
        quantizer.after_update({});
      }
      check_parity(*model, quantizer);
      CHECK(after < before);
      const Quantized end = quantizer.convert();
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const QTensor &was = start.tensors[i].q, &is = end.tensors[i].q;
        if (was.spec.grid != GridKind::learned) continue;
        CHECK(was.codes != is.codes);
        CHECK(was.at.scales != is.at.scales);
        const std::ptrdiff_t list = std::ptrdiff_t{1} << spec.bits;
        for (auto u = is.at.scales.begin(); u != is.at.scales.end(); u += list)
          CHECK(std::is_sorted(u, u + list));
      }
    }
  }
}

TEST_CASE("training goes on from a method's levels and codes") {
  const Text a(20, 8), b(21, 8);
  const std::vector<nn::Tokens> tokens{a.tokens(), b.tokens()};
  for (const Training training : {Training::ste, Training::lsq}) {
    for (const Spec& spec : specs()) {
      const auto before = test::make_gpt(), model = test::make_gpt();
      const std::vector<Target> targets = resolve(plan_of(spec), *model);
      const Quantized start = post_training(*model, method("gptq"), targets, tokens, {});
      const auto rounded = nn::clone(*model);
      return_to_cells(model->params(), before->params(), start);
      CHECK_FALSE(same_bits(test::values_of(model->params()), test::values_of(rounded->params())));
      FakeQuantizer quantizer(*model, training, targets, {}, &start);
      const Quantized now = quantizer.convert();
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const std::vector<real> is = dequantize(now.tensors[i].q), was = dequantize(start.tensors[i].q);
        CHECK(same_bits(is, was));
      }
    }
  }
}

TEST_CASE("what knows steps alone does not go with learned levels") {
  const Spec learned = specs()[0];
  const auto refuses = [&](Training training, const QatOptions& options, const Spec& spec) {
    const auto model = test::make_gpt();
    const std::vector<Target> targets = resolve(plan_of(spec), *model);
    return test::error_of([&] { FakeQuantizer(*model, training, targets, options); }).fault ==
           Fault::usage;
  };
  CHECK(refuses(Training::gaussian, {}, learned));
  CHECK(refuses(Training::lsq, {.freeze = 0.1}, learned));
  CHECK(refuses(Training::lsq, {.dampen = 0.1}, learned));
  CHECK(refuses(Training::ste, {.cage = 1}, learned));
  for (const char* name : {"qat-ste", "qat-lsq", "qat-ste-kd", "qat-lsq-kd"}) {
    CHECK_NOTHROW(require_grid(method(name), learned, "x"));
    Spec words = learned;
    words.bits = 2;
    words.grid = GridKind::e8p;
    CHECK(test::error_of([&] { require_grid(method(name), words, "x"); }).field == "grid");
  }
  CHECK(test::error_of([&] { require_grid(method("qat-quest"), learned, "x"); }).field == "grid");
}

}  // namespace learned_training_test
