// What holds of every row of the table of methods that rounds after training, whatever it does.
#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/base/thread_pool.h"
#include "quant/methods/methods.h"
#include "quant/methods/post_training.h"
#include "quant/store/model_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/tiny_models.h"

namespace every_method_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

AnyModel gpt(bool large = false) {
  return any_model([=] {
    nn::GptConfig config = tiny_config();
    if (large) config.n_layer = 3, config.n_embd = 24, config.bias = false;
    return make_gpt(config);
  });
}

Quantized run(AnyModel& model, const Method& m, const Plan& plan) {
  const Text a(20, 8), b(21, 8);
  const std::vector<nn::Tokens> tokens{a.tokens(), b.tokens()};
  return post_training(model.get(), m, resolve(plan, model.get()), tokens,
                       {.adaround = {.steps = 3}, .signround = {.steps = 3}, .gsq = {.steps = 3}, .block_ap = {.steps = 3}});
}

bool equal(const Quantized& a, const Quantized& b) {
  return std::ranges::equal(a.tensors, b.tensors, [](const NamedQTensor& x, const NamedQTensor& y) {
    return x.name == y.name && x.q == y.q && x.change == y.change;
  });
}

TEST_CASE("every method's file has its predicted bytes and runs as scored") {
  const Plan plan{.weights = {.bits = 4, .granularity = Granularity::group, .group_size = 4},
                  .table = Spec{.bits = 8}};
  for (const Method* m : methods()) {
    if (!m->round) continue;
    for (const bool rounds_inputs : {false, true}) {
      INFO(m->name << (rounds_inputs ? " with 8-bit inputs" : ""));
      Plan own = plan;
      if (rounds_inputs) own.activations = ActivationSpec{.range = ActivationRange::fixed};
      AnyModel model = gpt();
      const Quantized q = run(model, *m, own);
      const test::TemporaryDirectory dir;
      save_quantized(model.get(), q, dir.path());  // throws where the prediction is wrong
      const LoadedModel back = load_any(dir.path());
      for (std::size_t i = 0; i < q.tensors.size(); ++i) {
        const auto at = std::ranges::find(back.tensors, q.tensors[i].name, &NamedQTensor::name);
        REQUIRE(at != back.tensors.end());
        CHECK(at->q == q.tensors[i].q);
        CHECK(at->change == q.tensors[i].change);
      }
      const Text text(3, 8);
      const auto scored = logits_of(*back.model, text);
      const auto runs = logits_of(*load_runnable(dir.path()).model, text);
      for (std::size_t i = 0; i < runs.size(); ++i)
        CHECK(runs[i] == Approx(scored[i]).epsilon(1e-4).margin(1e-4));
    }
  }
}

TEST_CASE("no method depends on the number of threads") {
  const int before = threads();
  const Plan plan{
      .weights = {.bits = 3}, .table = Spec{.bits = 8}, .activations = ActivationSpec{}};
  for (const Method* m : methods()) {
    if (!m->round) continue;
    INFO(m->name);
    std::optional<Quantized> reference;
    std::vector<real> values;
    for (const int n : {1, 3}) {
      set_threads(n);
      AnyModel model = gpt(true);
      const Quantized q = run(model, *m, plan);
      if (!reference) {
        reference = q;
        values = values_of(model.params());
        continue;
      }
      CHECK(equal(q, *reference));
      CHECK(same_bits(values_of(model.params()), values));
    }
  }
  set_threads(before);
}

}  // namespace every_method_test
