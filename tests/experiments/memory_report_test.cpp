#include "experiments/bench/memory_report.h"

#include <set>

#include "nn/gpt.h"
#include "tests/catch.h"

namespace memory_report_test {

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
      CHECK(memory_shape(model, "x").parameters() == model.params().count());
    }
  }
}

TEST_CASE("an int8 cache that saves nothing is said to") {
  // Against the bytes of caches that are made.
  MemoryShape shape{.name = "small", .n_layer = 2, .channels = 256};
  std::set<bool> seen;
  for (const int heads : {4, 16, 64}) {
    shape.n_head = shape.kv_heads = heads;
    shape.head_dim = 256 / heads;
    for (const std::int64_t context : {1, 32, 64, 95, 96, 128, 160, 256, 512, 1024, 4096}) {
      CAPTURE(heads, context);
      const auto bytes = [&](quant::KvKind kind) {
        const nn::KvShape kv{
            .n_layer = 2, .n_head = heads, .channels = 256, .capacity = context, .batch = 2};
        return quant::make_kv_cache(kind, kv)->bytes();
      };
      const std::string note = kv_note(shape, context, 2);
      const auto said = [&](const char* type) { return note.find(type) != std::string::npos; };
      const std::int64_t int8 = bytes(quant::KvKind::int8);
      CHECK(said(" fp16") == (bytes(quant::KvKind::fp16) < int8));
      seen.insert(note.empty());
      CHECK(said("larger than in fp32") == (bytes(quant::KvKind::fp32) < int8));
    }
  }
  CHECK(seen.size() == 2);
}

}  // namespace memory_report_test
