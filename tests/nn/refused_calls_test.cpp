// What no caller may ask of models, caches and files is refused in every build: caches that cannot be, or
// are of another model, layers that nobody declared, texts without tokens, sources that write nothing.
#include "tests/refused_calls.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <vector>

#include "nn/architectures.h"
#include "nn/checkpoint.h"
#include "nn/digest.h"
#include "nn/generate.h"
#include "nn/gguf.h"
#include "nn/gpt.h"
#include "nn/integrity.h"
#include "nn/llama.h"
#include "nn/manifest.h"
#include "nn/mlp.h"
#include "nn/narrow.h"
#include "nn/onnx.h"
#include "nn/safetensors.h"
#include "nn/speculate.h"
#include "nn/text_loss.h"
#include "nn/watched_inputs.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace notch::nn::refused_calls_test {

using test::check_refused;
using test::error_of;
using Reals = std::vector<real>;

constexpr std::int64_t kHuge = std::int64_t{1} << 40;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr GptConfig kSmall{
    .vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 8};

TEST_CASE("caches that no memory holds or no heads divide are refused") {
  std::vector<std::function<void()>> calls;
  for (const KvShape& shape :
       {KvShape{}, KvShape{1, 0, 4, 4}, KvShape{1, -1, 4, 4}, KvShape{1, 1, 0, 4},
        KvShape{1, 3, 4, 4}, KvShape{1, 1, 4, 0}, KvShape{-1, 1, 4, 4}, KvShape{1, 1, 4, 4, 0},
        KvShape{1, 2, 4, 4, 1, 3}, KvShape{1, 2, 4, 4, 1, -1}, KvShape{1, 1, kHuge, kHuge},
        KvShape{1, 1, 4, kMost}, KvShape{1, 1, 4, 4, kMost}})
    calls.push_back([shape] { Fp32KvCache cache(shape); });
  const Fp32KvCache one(KvShape{1, 1, 4, 4});
  calls.push_back([&] { Fp32KvCache copies(one, 0); });
  calls.push_back([&] { Fp32KvCache copies(one, kMost); });
  check_refused(calls);
}

TEST_CASE("a cache refuses positions, layers and spans that it does not have") {
  Reals values(64, 1), scratch(256);
  const kernels::Qkv x{.q = values, .k = values, .v = values, .q_row = 12, .kv_row = 12};
  const auto attend = [&](int layer, std::int64_t T, std::int64_t held, const kernels::Qkv& rows,
                          std::span<real> out, std::span<real> work) {
    Fp32KvCache cache(KvShape{1, 1, 4, 4});
    cache.advance(held);
    cache.attend(layer, out, rows, T, work);
  };
  kernels::Qkv overlapping = x, far = x;
  overlapping.q_row = 0;
  far.kv_row = kMost / 2;
  check_refused(
      {[&] { attend(-1, 1, 0, x, values, scratch); }, [&] { attend(1, 1, 0, x, values, scratch); },
       [&] { attend(0, -1, 0, x, values, scratch); }, [&] { attend(0, 5, 0, x, values, scratch); },
       [&] { attend(0, kMost, 0, x, values, scratch); },
       [&] { attend(0, 1, 4, x, values, scratch); }, [&] { attend(0, 1, 0, {}, values, scratch); },
       [&] { attend(0, 1, 0, x, {}, scratch); }, [&] { attend(0, 1, 0, x, values, {}); },
       [&] { attend(0, 2, 0, overlapping, values, scratch); },
       [&] { attend(0, 2, 0, far, values, scratch); },
       [] {
         Fp32KvCache(KvShape{1, 1, 4, 4}).advance(-1);
       },
       [] {
         Fp32KvCache(KvShape{1, 1, 4, 4}).advance(5);
       },
       [] {
         Fp32KvCache cache(KvShape{1, 1, 4, 4});
         cache.advance(3);
         cache.advance(kMost);
       },
       [] {
         Fp32KvCache cache(KvShape{1, 1, 4, 4});
         cache.truncate(-1);
       }});
}

TEST_CASE("a model refuses the cache of another") {
  const Gpt gpt(kSmall);
  const Llama llama({.vocab_size = 11,
                     .block_size = 8,
                     .n_layer = 2,
                     .n_head = 2,
                     .n_kv_head = 2,
                     .n_embd = 8,
                     .n_inner = 12});
  const Mlp mlp({});
  const std::vector<std::int32_t> ids{1, 2, 3};
  std::vector<std::function<void()>> calls;
  for (const Model* m : {static_cast<const Model*>(&gpt), static_cast<const Model*>(&llama)})
    for (const KvShape& shape : {KvShape{1, 2, 8, 8}, KvShape{2, 1, 8, 8}, KvShape{2, 2, 16, 8}})
      calls.push_back([m, shape, &ids] {
        Fp32KvCache cache(shape);
        Rng rng(1);
        generate(*m, ids, 2, {}, rng, {}, &cache);
      });
  calls.push_back([&] {
    Rng rng(1);
    generate(mlp, ids, 2, {}, rng);  // it has no heads that a cache could be of
  });
  check_refused(calls);
}

TEST_CASE("what nobody declared and nothing reads is no layer of a model") {
  Graph g;
  g.begin(Graph::Mode::training);
  Reals values(8, 1);
  const Var x = g.input({values.data(), {1, 2, 4}});
  const std::vector<std::int32_t> ids{0, 1};
  ParamStore params;
  const Gpt model(kSmall);
  const Hooks hooks;
  FactorShapes factors(params, hooks, {.n_layer = 1, .ranks = {1, 1, 1, 1}});
  check_refused({[&] { Linear()(g, x); },
                 [&] {
                   Embedding()(g, {ids, 1, 2});
                 },
                 [&] { LayerNorm()(g, x); }, [&] { RmsNorm()(g, x); },
                 [&] { GroupedSelfAttention().mix(x, x, x); },
                 [&] { loss_of(g, Linear{}, x, ids, {}); },
                 [&] {
                   State state;
                   Step().run(g, state);
                 },
                 [&] {
                   Linear down;
                   for (int i = 0; i < 5; ++i) factors.next(down, str("m", i), 4, 4);
                 },
                 [] { Llama({.rope_theta = 0}); }, [] { Llama({.rope_theta = std::nan("")}); },
                 [] { Llama({.rms_norm_eps = -1}); }, [] { shortened(nullptr, 4); }});
}

TEST_CASE("texts of no tokens and chances without a sum are refused") {
  Gpt model(kSmall);
  const std::vector<std::int32_t> ids{1, 2, 3, 4};
  const Tokens text{ids, 1, 4};
  const std::vector<double> none{0, 0}, not_finite{std::nan("")};
  const std::vector<std::vector<double>> importance{{1, std::nan("")}};
  check_refused({[&] {
                   successors({ids, 1, 0});
                 },
                 [&] {
                   successors({ids, -1, -4});
                 },
                 [&] {
                   successors({ids, kHuge, kHuge});
                 },
                 [&] {
                   successors({ids, 2, 4});
                 },
                 [&] {
                   Graph g;
                   mean_loss(g, model, {});
                 },
                 [&] { watch_inputs(model, std::span(&text, 1), "test", {}); },
                 [&] { positions_needed(model.sizes(), -1, 4); },
                 [&] { positions_needed(model.sizes(), 1, -4); },
                 [&] {
                   Rng rng(1);
                   draw_from({}, 1, rng);
                 },
                 [&] {
                   Rng rng(1);
                   draw_from(none, 0, rng);
                 },
                 [&] {
                   Rng rng(1);
                   draw_from(not_finite, not_finite[0], rng);
                 },
                 [] { best_draft_length(std::nan(""), 0, 7); },
                 [] { best_draft_length(0.5, -1, 7); }, [] { best_draft_length(1, 0, kMost); },
                 [&] { most_important(importance, 1); }});
}

TEST_CASE("files are not begun for what nothing writes or no disk holds") {
  const test::TemporaryDirectory directory;
  const fs::path path = directory.path() / "file";
  const auto nothing = [](std::int64_t, std::int64_t, std::vector<std::byte>&) {};
  const auto gguf = [&](const GgufSource& source) { write_gguf(path, {}, std::span(&source, 1)); };
  const GgufType* f32 = gguf_type("F32");
  check_refused(
      {[&] { gguf({.name = "a", .type = nullptr, .cols = 4, .write = nothing}); },
       [&] { gguf({.name = "a", .type = f32, .cols = 4}); },
       [&] { gguf({.name = "a", .type = f32, .rows = kHuge, .cols = kHuge, .write = nothing}); },
       [&] { write_safetensors(path, {{.name = "a", .shape = {2}}}); },
       [&] { put_reals({}, DType::f32, {}); }, [&] { hash_pieces(5, {}); },
       [&] { hash_pieces(~std::uint64_t{0}, [](std::uint64_t, std::span<std::byte>) {}); },
       [&] {
         OnnxGraph graph;
         graph.tensor("a", OnnxType::f32, {1}, {});
         graph.write(path, "graph");
       },
       [] { OnnxGraph().split("x", 0); }, [] { OnnxGraph().split("x", kMost); },
       [&] { keep_checkpoints(directory.path(), 1, 0); },
       [&] { write_manifest(directory.path(), {"../file"}); }});
  CHECK(fs::is_empty(directory.path()));
  CHECK(error_of([&] { seal_model(directory.path() / "none"); }).fault == Fault::io);
}

}  // namespace notch::nn::refused_calls_test
