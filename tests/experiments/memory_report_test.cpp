#include "experiments/bench/memory_report.h"

#include "tests/catch.h"

using namespace notch;
using namespace notch::experiments;

TEST_CASE("the named shapes have the parameters that were published") {
  // Llama 2's checkpoints on Hugging Face.
  const std::vector<MemoryShape> shapes = named_shapes();
  REQUIRE(shapes.size() == 3);
  CHECK(shapes[0].parameters() == 6'738'415'616);
  CHECK(shapes[1].parameters() == 13'015'864'320);
  CHECK(shapes[2].parameters() == 68'976'648'192);
}

TEST_CASE("weights and cache of 7B at 16 bits have the known sizes") {
  const MemoryUse half{
      .weights = "fp16", .matrix_bits = 16, .other_bits = 16, .kv = quant::KvKind::fp16};
  const std::vector<MemoryShape> shapes = named_shapes();
  const MemoryNeed need = memory_need(shapes[0], half, 4096, 1);
  CHECK(need.weights == 2 * shapes[0].parameters());
  CHECK(need.kv_cache == std::int64_t{2} << 30);  // half a mebibyte per token
  CHECK(memory_need(shapes[0], half, 4096, 3).kv_cache == 3 * need.kv_cache);
  // 70B: 80 layers, 8 heads of 128 for keys and values.
  CHECK(memory_need(shapes[2], half, 4096, 1).kv_cache == 2ll * 80 * 8 * 128 * 4096 * 2);
}

TEST_CASE("our own models are counted as they are") {
  for (const bool bias : {true, false}) {
    for (const bool tied : {true, false}) {
      const nn::GptConfig config{.vocab_size = 50,
                                 .block_size = 32,
                                 .n_layer = 3,
                                 .n_head = 2,
                                 .n_embd = 16,
                                 .bias = bias,
                                 .tie_embeddings = tied};
      const nn::Gpt model(config, nn::Gpt::Values::shapes_only);
      CHECK(memory_shape(config, "x").parameters() == model.params().count());
    }
  }
}
