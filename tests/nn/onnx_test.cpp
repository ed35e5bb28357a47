// ONNX files: the bytes of a small one by hand, and the graphs of both architectures as far as they
// can be seen from outside. Their numbers are compared in ONNX Runtime (tests/clients/run.sh).
#include <cmath>
#include <cstring>
#include <numbers>
#include <set>

#include "nn/architectures.h"
#include "nn/llama.h"
#include "nn/model_dir.h"
#include "nn/onnx_model.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"
#include "tests/nn/onnx_reader.h"

namespace onnx_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::OnnxFile;
using notch::test::OnnxNode;
using notch::test::OnnxTensor;
using notch::test::TemporaryDirectory;

/// Every input of a node is an input of the graph, a tensor or the output of a node before it; no
/// name is made twice; every output is made.
void check_graph(const OnnxFile& file) {
  std::set<std::string> known(file.inputs.begin(), file.inputs.end());
  for (const OnnxTensor& t : file.tensors) CHECK(known.insert(t.name).second);
  for (const OnnxNode& n : file.nodes) {
    for (const std::string& in : n.inputs) {
      CAPTURE(n.op, in);
      CHECK(known.contains(in));
    }
    for (const std::string& out : n.outputs) CHECK(known.insert(out).second);
  }
  for (const std::string& out : file.outputs) CHECK(known.contains(out));
}

std::vector<float> floats(const OnnxTensor& t) {
  REQUIRE(t.type == 1);
  std::vector<float> values(t.bytes.size() / sizeof(float));
  std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  return values;
}

TEST_CASE("a small ONNX file has the bytes that onnx.proto and protobuf say") {
  OnnxGraph g;
  g.input("x", OnnxType::f32, {std::string("n"), std::int64_t{2}});
  g.output("y", OnnxType::f32, {std::string("n"), std::int64_t{2}});
  g.reals("w", {2}, {1, 2});
  g.add_as("y", "Add", {"x", "w"},
           {{"axis", std::int64_t{-1}}, {"eps", 0.5f}, {"perm", std::vector<std::int64_t>{1, 0}}});
  const TemporaryDirectory dir;
  g.write(dir / "m.onnx", "g");
  using namespace std::string_view_literals;
  const std::string type = "\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02";
  const std::string node =
      "\x0a\x01x\x0a\x01w\x12\x01y\x1a\x01y\x22\x03"
      "Add"
      "\x2a\x14\x0a\x04"
      "axis\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xa0\x01\x02"
      "\x2a\x0d\x0a\x03" +
      std::string("eps\x15\x00\x00\x00\x3f\xa0\x01\x01"sv) +
      std::string("\x2a\x0d\x0a\x04perm\x40\x01\x40\x00\xa0\x01\x07"sv);
  const std::string expected =
      "\x08\x0a\x12\x05notch\x42\x02\x10\x15\x42\x11\x0a\x0d"
      "com.microsoft\x10\x01"
      "\x3a\x89\x01\x0a\x45" +
      node + "\x12\x01g\x5a\x14\x0a\x01x" + type + "\x62\x14\x0a\x01y" + type +
      std::string("\x2a\x11\x08\x02\x10\x01\x42\x01w\x4a\x08\x00\x00\x80\x3f\x00\x00\x00\x40"sv);
  CHECK(read_file(dir / "m.onnx") == expected);
  CHECK(error_of([&] { g.reals("w", {1}, {3}); }).fault == Fault::usage);
  g.tensor("short", OnnxType::i64, {2},
           [](const ByteSink& sink) { sink(std::as_bytes(std::span("1234567"))); });
  CHECK(error_of([&] { g.write(dir / "n.onnx", "g"); }).fault == Fault::usage);
  CHECK_FALSE(fs::exists(dir / "n.onnx"));
  OnnxGraph large;
  large.tensor("a", OnnxType::f32, {1 << 29}, {});
  CHECK(error_of([&] { large.write(dir / "n.onnx", "g"); }).fault == Fault::input);
}

TEST_CASE("a GPT's graph has its weights, as MatMul takes them") {
  for (const bool tied : {true, false}) {
    GptConfig config = test::small();
    config.tie_embeddings = tied;
    const auto model = test::random_model(config);
    const TemporaryDirectory dir;
    OnnxWeights weights;
    onnx_graph(*model, weights, false).write(dir / "m.onnx", "gpt");
    const OnnxFile file(dir / "m.onnx");
    check_graph(file);
    CHECK(file.inputs == std::vector<std::string>{"input_ids"});
    CHECK(file.outputs == std::vector<std::string>{"logits"});
    CHECK(file.count("LayerNormalization") == 5);
    CHECK(file.count("MatMul") == 2 * (4 + 2) + 1);
    CHECK(file.count("Erf") == (config.gelu == Gelu::exact ? 2 : 0));
    for (const Param& p : model->params().params()) {
      CAPTURE(p.name);
      const OnnxTensor& t = file.tensor(p.name);
      const std::vector<float> values = floats(t);
      const bool turned = p.value.shape.rank() == 2 && !p.name.starts_with("w");
      if (!turned) {
        CHECK(std::ranges::equal(values, p.value.flat()));
        continue;
      }
      const std::int64_t out = p.value.shape[0], in = p.value.shape[1];
      REQUIRE(t.shape == std::vector<std::int64_t>{in, out});
      for (std::int64_t o = 0; o < out; ++o) {
        for (std::int64_t i = 0; i < in; ++i) {
          CHECK(values[static_cast<std::size_t>(i * out + o)] == p.value.data[o * in + i]);
        }
      }
    }
  }
}

TEST_CASE("a Llama's graph shares heads of keys, and names its cache") {
  Llama model({.vocab_size = 11,
               .block_size = 6,
               .n_layer = 2,
               .n_head = 4,
               .n_kv_head = 2,
               .n_embd = 16,
               .n_inner = 24,
               .tie_embeddings = true});
  model.init(1);
  const TemporaryDirectory dir;
  OnnxWeights weights;
  onnx_graph(model, weights, true).write(dir / "m.onnx", "llama");
  const OnnxFile file(dir / "m.onnx");
  check_graph(file);
  CHECK(file.inputs == std::vector<std::string>{"input_ids", "past_key_values.0.key",
                                                "past_key_values.0.value", "past_key_values.1.key",
                                                "past_key_values.1.value"});
  CHECK(file.outputs == std::vector<std::string>{"present.0.key", "present.0.value",
                                                 "present.1.key", "present.1.value", "logits"});
  CHECK(file.count("MatMul") == 2 * (7 + 2) + 1);
  CHECK(file.count("Sigmoid") == 2);
  CHECK(file.tensor("rotary.cos").shape == std::vector<std::int64_t>{6, 2});
  CHECK(floats(file.tensor("rotary.sin")).at(2) == Approx(std::sin(1.0)));
  CHECK(file.tensor("model.layers.1.self_attn.k_proj.weight").shape ==
        std::vector<std::int64_t>{16, 8});
}

TEST_CASE("a Llama's graph turns by the angles that are scaled") {
  constexpr std::int64_t kPositions = 6, kPairs = 4;
  Llama model(
      {.vocab_size = 11,
       .block_size = kPositions,
       .n_layer = 1,
       .n_head = 2,
       .n_kv_head = 1,
       .n_embd = 16,
       .n_inner = 24,
       .rope_theta = 100,
       .rope_scaling = {
           .factor = 8, .low_freq_factor = 0.1, .high_freq_factor = 0.5, .original_context = 6}});
  model.init(1);
  const TemporaryDirectory dir;
  OnnxWeights weights;
  onnx_graph(model, weights, false).write(dir / "m.onnx", "llama");
  const OnnxFile file(dir / "m.onnx");
  check_graph(file);
  // Pair i of a head of 8 channels turns once in 2 pi 100^(i/4) = 6.28, 19.87, 62.8, 198.7 positions:
  // the first, in no more than 6 / 0.5 = 12, stays; the last two, in 6 / 0.1 = 60 or more, are divided
  // whole. The second makes 6 / 19.87 turns in the context of 6: its share between low and high is kept.
  const double turns = 6 / (2 * std::numbers::pi * std::sqrt(10.0));
  const double kept = (turns - 0.1) / (0.5 - 0.1);
  CHECK(kept == Approx(0.50494).epsilon(1e-4));
  const double divisors[kPairs] = {1, 1 / (kept + (1 - kept) / 8), 8, 8};
  for (const char* name : {"rotary.cos", "rotary.sin"}) {
    CHECK(file.tensor(name).shape == std::vector<std::int64_t>{kPositions, kPairs});
  }
  const std::vector<float> cosines = floats(file.tensor("rotary.cos"));
  const std::vector<float> sines = floats(file.tensor("rotary.sin"));
  for (std::size_t at = 0; at < kPositions * kPairs; ++at) {
    const std::size_t t = at / kPairs, i = at % kPairs;
    CAPTURE(t, i);
    const double angle =
        static_cast<double>(t) * std::pow(100.0, -2 * static_cast<double>(i) / 8) / divisors[i];
    CHECK(cosines.at(at) == Approx(std::cos(angle)).margin(1e-6));
    CHECK(sines.at(at) == Approx(std::sin(angle)).margin(1e-6));
  }
}

TEST_CASE("a graph of fewer positions is that of the shorter model") {
  const auto gpt = test::random_model(test::small());
  const auto llama = std::make_unique<Llama>(LlamaConfig{.vocab_size = 11,
                                                         .block_size = 6,
                                                         .n_layer = 1,
                                                         .n_head = 2,
                                                         .n_kv_head = 1,
                                                         .n_embd = 8,
                                                         .n_inner = 12});
  llama->init(1);
  const TemporaryDirectory dir;
  OnnxWeights weights;
  for (const Model* model : std::initializer_list<const Model*>{gpt.get(), llama.get()}) {
    CAPTURE(model->architecture());
    REQUIRE(model->sizes().block_size > 3);
    for (const bool cache : {false, true}) {
      const auto cut = shortened(clone(*model), 3);
      onnx_graph(*model, weights, cache, 3).write(dir / "a.onnx", "m");
      onnx_graph(*cut, weights, cache).write(dir / "b.onnx", "m");
      CHECK(read_file(dir / "a.onnx") == read_file(dir / "b.onnx"));
      check_graph(OnnxFile(dir / "a.onnx"));
    }
    const std::int64_t beyond = model->sizes().block_size + 1;
    CHECK(error_of([&] { onnx_graph(*model, weights, false, beyond); }).fault == Fault::usage);
  }
}

}  // namespace onnx_test
