// Decoding with packed weights and every cache, and training through rounded weights and inputs: the heap is
// not asked once shapes repeat.
#include "autograd/base/names.h"
#include "nn/generate.h"
#include "nn/reader.h"
#include "quant/serve/kv_cache.h"
#include "quant/serve/served_layers.h"
#include "quant/store/model_files.h"
#include "quant/train/qat.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/count_allocations.h"
#include "tests/quant/tiny_models.h"

namespace notch::quant::decoding_allocations_test {

#ifndef NOTCH_SANITIZED

TEST_CASE("from the third token on a packed model decodes without the heap") {
  for (const int bits : {8, 6, 4, 2}) {
    for (const bool activations : {false, true}) {
      for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
        INFO(bits << " bits, " << (activations ? "integer" : "fp32") << " activations, cache "
                  << word_of(kind));
        const auto model = test::make_gpt(
            {.vocab_size = 11, .block_size = 128, .n_layer = 2, .n_head = 2, .n_embd = 16});
        Plan plan{.weights = {.bits = bits, .granularity = Granularity::group, .group_size = 8},
                  .table = Spec{.bits = 8}};
        if (activations) plan.activations = ActivationSpec{};
        const test::TemporaryDirectory dir;
        nn::Model& view = *model;
        save_quantized(*model, post_training(view, method("rtn"), resolve(plan, view), {}, {}),
                       dir.path());
        const RunnableModel packed = load_runnable(dir.path());
        const auto cache = make_kv_cache(kind, nn::kv_shape(packed.model->sizes()));
        nn::Reader reader(*packed.model, *cache);
        nn::Sampler sampler({.top_k = 5});
        Rng rng(1);
        std::int32_t token = 7;
        const auto step = [&] { token = sampler.draw(reader.read({&token, 1}), rng); };
        for (int i = 0; i < 3; ++i) step();
        CHECK(test::allocations_of([&] {
                for (int i = 0; i < 100; ++i) step();  // the int8 cache closes blocks on the way
              }) == 0);
      }
    }
  }
}

TEST_CASE("a step with rounded weights and inputs asks nothing of the heap") {
  for (const bool activations : {false, true}) {
    for (const Training training : {Training::ste, Training::lsq}) {
      CAPTURE(activations, training == Training::ste);
      const auto model = test::make_gpt();
      Plan plan{.weights = {.bits = 8}, .table = Spec{.bits = 8}};
      if (activations) plan.activations = ActivationSpec{};
      FakeQuantizer quantizer(*model, training, resolve(plan, *model), {});
      model->params().allocate_gradients();
      quantizer.params().allocate_gradients();
      const test::Text text(3);
      Graph g;
      std::uint64_t i = 0;
      const auto step = [&] {
        g.begin(Graph::Mode::training, i++);
        g.backward(model->loss(g, text.batch(), {}));
      };
      for (int warm = 0; warm < 3; ++warm) step();
      CHECK(test::allocations_of(step) == 0);
    }
  }
}

#endif

}  // namespace notch::quant::decoding_allocations_test
