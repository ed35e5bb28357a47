// Scales that are trained while codes stay.
#include "quant/train/scale_training.h"

#include <algorithm>

#include "quant/train/adapters.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"
#include "tests/quant/tiny_models.h"

namespace scale_training_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

TEST_CASE("scales are trained, codes and zero points stay, and that ships") {
  for (const bool rounds_inputs : {false, true}) {
    for (const Spec& spec :
         {Spec{.bits = 3}, Spec{.bits = 2, .grid = GridKind::seq, .scale = ScaleType::f16},
          Spec{.bits = 4,
          .grid = GridKind::asymmetric,
          .granularity = Granularity::group,
          .group_size = 4},
          Spec{.bits = 4, .grid = GridKind::signed_max, .granularity = Granularity::tensor},
          Spec{.bits = 4,
          .grid = GridKind::nf4,
          .granularity = Granularity::group,
          .group_size = 4}}) {
      if (rounds_inputs && spec.grid == GridKind::nf4) continue;  // multiplied as floats alone
      INFO(name_of(spec) << (rounds_inputs ? " with 8-bit inputs" : ""));
      AnyModel original = any_model([] { return make_gpt(); });
      Plan plan{.weights = spec, .table = Spec{.bits = 6}};
      if (rounds_inputs) plan.activations = ActivationSpec{};
      const Quantized start =
          post_training(original.get(), method("rtn-mse"), resolve(plan, original.get()), {}, {});
      const std::unique_ptr<nn::Model> model = packed_twin(original.get(), start);
      ScaleTraining training(*model, resolve(plan, *model), start, {});

      ParamStore& own = training.params();
      own.allocate_gradients();
      optim::ParamGroup group;
      for (Param& p : own.params()) group.params.push_back(&p);
      optim::AdamW optimizer(std::vector<optim::ParamGroup>{group});
      const Text text(3), other(9);
      Graph g;
      std::vector<double> losses;
      for (int i = 0; i < 30; ++i) {
        own.zero_gradients();
        g.begin(Graph::Mode::training);
        const Var loss = model->loss(g, text.batch());
        losses.push_back(loss.item());
        g.backward(loss);
        optimizer.step(1e-2);
      }
      CHECK(losses.back() < losses.front());
      const Quantized end = training.convert();
      for (std::size_t i = 0; i < end.tensors.size(); ++i) {
        const QTensor &a = start.tensors[i].q, &b = end.tensors[i].q;
        CHECK(a.codes == b.codes);
        CHECK(a.at.zero_points == b.at.zero_points);
        CHECK(a.at.scales != b.at.scales);
      }
      const TemporaryDirectory dir;
      save_quantized(*model, end, dir.path());
      CHECK(same_bits(logits_of(*model, other), logits_of(*load_any(dir.path()).model, other)));
    }
  }
}

}  // namespace scale_training_test
