// GPTQ checkpoints: bits by hand, exact both ways, what another program makes of them, and what they
// do not hold.
#include "quant/store/gptq_checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "autograd/base/half.h"
#include "autograd/base/shell_word.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/folders.h"
#include "tests/nn/held_model.h"
#include "tests/quant/quantized_models.h"

namespace gptq_checkpoint_test {

using namespace notch;
using namespace notch::quant;
using test::error_of;
using test::logits_of;
using test::rounded;
using test::same_bits;
using test::TemporaryDirectory;
using test::Text;

using Bytes = std::vector<std::uint8_t>;
using Words = std::vector<std::uint32_t>;

/// 1 block of 32 channels, a vocabulary that fills words too.
std::unique_ptr<nn::Model> gpt(bool tied = true, bool bias = true) {
  return test::make_gpt({.vocab_size = 32,
                         .block_size = 8,
                         .n_layer = 1,
                         .n_head = 2,
                         .n_embd = 32,
                         .bias = bias,
                         .tie_embeddings = tied});
}
std::unique_ptr<nn::Model> llama() {
  auto model = std::make_unique<nn::Llama>(nn::LlamaConfig{.vocab_size = 32,
                                                           .block_size = 8,
                                                           .n_layer = 1,
                                                           .n_head = 2,
                                                           .n_kv_head = 1,
                                                           .n_embd = 64,
                                                           .n_inner = 96});
  test::randomise(model->params(), 2);
  return model;
}

Plan plan_of(int bits, GridKind grid, std::int64_t group = 0) {
  Spec spec{.bits = bits, .grid = grid, .scale = ScaleType::f16};
  if (group > 0) spec.granularity = Granularity::group;
  spec.group_size = group;
  return {.weights = spec};
}

const NamedQTensor& named(const std::vector<NamedQTensor>& tensors, const std::string& name) {
  const auto at = std::ranges::find(tensors, name, &NamedQTensor::name);
  REQUIRE(at != tensors.end());
  return *at;
}

template <class T>
std::vector<T> values_in(const fs::path& dir, const std::string& name) {
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  const nn::TensorEntry* entry = file.find(name);
  REQUIRE(entry);
  std::vector<T> values(entry->bytes / sizeof(T));
  file.read_bytes(*entry, std::as_writable_bytes(std::span(values)));
  return values;
}

/// The directory's tensors with `change` applied to the bytes of one of them, and without `removed`.
template <class T, class Change>
void rewrite(const fs::path& dir, const std::string& name, const Change& change,
             const std::string& removed = "") {
  const nn::SafetensorsFile file = nn::SafetensorsFile::open(dir / nn::kWeightsFile);
  std::vector<std::vector<std::byte>> bytes;
  std::vector<nn::TensorSource> sources;
  for (const nn::TensorEntry& e : file.entries()) {
    std::vector<std::byte>& own = bytes.emplace_back(e.bytes);
    file.read_bytes(e, own);
    if (e.name == name) {
      std::vector<T> values(e.bytes / sizeof(T));
      std::memcpy(values.data(), own.data(), own.size());
      change(values);
      std::memcpy(own.data(), values.data(), own.size());
    }
  }
  std::size_t i = 0;
  for (const nn::TensorEntry& e : file.entries()) {
    if (e.name != removed) sources.push_back(nn::raw_tensor(e.name, e.dtype, e.shape, bytes[i]));
    ++i;
  }
  nn::write_safetensors(dir / nn::kWeightsFile, std::move(sources));
}

TEST_CASE("codes are streams of bits in words, as derived by hand") {
  CHECK(gptq_stream(Bytes{0, 1, 2, 3, 4, 5, 6, 7}, 4) == Words{0x76543210});
  CHECK(gptq_stream(Bytes{0x11, 0x22, 0x33, 0x44}, 8) == Words{0x44332211});
  CHECK(gptq_stream(Bytes{1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3}, 2) ==
        Words{(1u << 0) + (2u << 8) + (3u << 30)});
  // 3 bits: code 10 has bits 30, 31 and 32, code 21 has 63, 64 and 65, code 31 has 93 to 95.
  Bytes codes(32, 0);
  codes[1] = 7;
  codes[10] = 0b101;
  codes[21] = 0b011;
  codes[31] = 0b110;
  const Words words{(7u << 3) | (1u << 30), 1u | (1u << 31), 1u | (3u << 30)};
  CHECK(gptq_stream(codes, 3) == words);
  for (const int bits : {2, 3, 4, 8}) {
    Bytes all;
    for (int i = 0; i < 96; ++i) all.push_back(static_cast<std::uint8_t>((i * 37) % (1 << bits)));
    CHECK(gptq_values(gptq_stream(all, bits), bits) == all);
  }
  CHECK(error_of([] { gptq_stream(Bytes(31, 0), 3); }).fault == Fault::usage);
}

TEST_CASE("a checkpoint has its parts where its readers look for them") {
  const auto model = gpt();
  const Quantized q = rounded(*model, plan_of(4, GridKind::narrow, 16));
  for (const GptqZeros zeros : {GptqZeros::v1, GptqZeros::v2}) {
    const TemporaryDirectory dir;
    save_gptq(*model, q, dir.path(), zeros);
    const std::string stem = "transformer.h.0.mlp.c_fc";
    const QTensor& fc = named(q.tensors, "h.0.mlp.c_fc.weight").q;  // [128, 32], 2 groups
    const Words words = values_in<std::uint32_t>(dir.path(), stem + ".qweight");
    REQUIRE(words.size() == 4 * 128);
    for (const std::int64_t out : {0, 77}) {
      for (const std::int64_t in : {0, 9, 31}) {
        const auto at = static_cast<std::size_t>((in / 8) * 128 + out);
        CHECK(static_cast<int>(words[at] >> (4 * (in % 8)) & 15u) - 8 ==
              fc.codes[static_cast<std::size_t>(out * 32 + in)]);
      }
    }
    const Words qzeros = values_in<std::uint32_t>(dir.path(), stem + ".qzeros");
    CHECK(qzeros == Words(2 * 16, zeros == GptqZeros::v1 ? 0x77777777 : 0x88888888));
    const auto scales = values_in<std::uint16_t>(dir.path(), stem + ".scales");
    REQUIRE(scales.size() == 2 * 128);
    CHECK(scales[128 + 5] == to_f16(static_cast<float>(fc.at.scales[5 * 2 + 1])));
    const auto groups = values_in<std::int32_t>(dir.path(), stem + ".g_idx");
    CHECK(groups[15] == 0);
    CHECK(groups[16] == 1);
    const Json about = test::config_json(dir.path()).at("quantization_config", "");
    const char* format = zeros == GptqZeros::v1 ? "gptq" : "gptq_v2";
    CHECK(about.dump() ==
          str(R"({"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": false, )",
              R"("sym": true, "lm_head": false, "checkpoint_format": ")", format, "\"}"));
  }
}

TEST_CASE("codes, zero points and scales come back bit for bit") {
  int variant = 0;
  for (const int bits : {2, 3, 4, 8}) {
    for (const GridKind grid : {GridKind::narrow, GridKind::full, GridKind::signed_max,
                                GridKind::asymmetric, GridKind::ternary}) {
      if (grid == GridKind::ternary && bits != 2) continue;
      const bool v2 = ++variant % 2 == 0 || grid == GridKind::asymmetric;
      const auto model = variant % 3 == 0 ? llama() : gpt(variant % 3 == 1, variant % 4 < 2);
      INFO(bits << " bits, " << name_of(grid) << ", " << model->architecture());
      Plan plan = plan_of(bits, grid, variant % 5 == 0 ? 0 : 16);
      if (!model->head_is_tied()) plan.rules = {{"lm_head", plan.weights}};
      const Quantized q = rounded(*model, plan);
      const TemporaryDirectory dir;
      save_gptq(*model, q, dir.path(), v2 ? GptqZeros::v2 : GptqZeros::v1);
      const LoadedModel back = load_any(dir.path());
      REQUIRE(back.tensors.size() == q.tensors.size());
      for (const NamedQTensor& t : q.tensors) {
        INFO(t.name);
        const QTensor& read = named(back.tensors, t.name).q;
        CHECK(read.codes == t.q.codes);
        CHECK(read.at.scales == t.q.at.scales);
        CHECK(read.at.zero_points == t.q.at.zero_points);
        CHECK(read.spec.bits == bits);
        CHECK(read.spec.granularity == t.q.spec.granularity);
      }
      CHECK(same_bits(test::values_of(back.model->params()), test::values_of(model->params())));
      // Served as our own directory of the same codes is.
      const TemporaryDirectory own;
      save_quantized(*back.model, {.tensors = back.tensors}, own.path());
      const Text text(1, 4, 32);
      CHECK(same_bits(logits_of(*load_runnable(dir.path()).model, text),
                      logits_of(*load_runnable(own.path()).model, text)));
    }
  }
}

TEST_CASE("groups as long as a matrix's inputs are written again") {
  const auto model = gpt();  // 32 channels: one group in three Linears, four in mlp.c_proj
  const Quantized q = rounded(*model, plan_of(4, GridKind::full, 32));
  const TemporaryDirectory first, second;
  save_gptq(*model, q, first.path(), GptqZeros::v1);
  const LoadedModel back = load_any(first.path());
  for (const NamedQTensor& t : back.tensors) {
    INFO(t.name);
    CHECK(t.q.spec.granularity == Granularity::group);
    CHECK(t.q.spec.group_size == 32);
  }
  save_gptq(*back.model, {.tensors = back.tensors}, second.path(), GptqZeros::v1);
  for (const char* file : {"config.json", "model.safetensors", "quantize_config.json"}) {
    INFO(file);
    CHECK(read_file(first / file) == read_file(second / file));
  }
}

TEST_CASE("one scale per tensor is the same scale in every row") {
  const auto model = gpt();
  Plan plan = plan_of(8, GridKind::asymmetric);
  plan.weights.granularity = Granularity::tensor;
  const Quantized q = rounded(*model, plan);
  const TemporaryDirectory dir;
  save_gptq(*model, q, dir.path(), GptqZeros::v2);
  const LoadedModel back = load_any(dir.path());
  CHECK(same_bits(test::values_of(back.model->params()), test::values_of(model->params())));
}

TEST_CASE("an independent reader gets the same weights") {
  if (std::system("python3 -c '' 2>/dev/null") != 0) {
    WARN("skipped: python3 is not installed");
    return;
  }
  for (const int bits : {2, 3, 4, 8}) {
    for (const GptqZeros zeros : {GptqZeros::v1, GptqZeros::v2}) {
      INFO(bits << " bits, v" << (zeros == GptqZeros::v1 ? 1 : 2));
      const auto model = zeros == GptqZeros::v1 ? gpt() : llama();
      const Quantized q = rounded(
          *model,
          plan_of(bits, zeros == GptqZeros::v1 ? GridKind::full : GridKind::asymmetric, 16));
      const TemporaryDirectory dir;
      save_gptq(*model, q, dir.path(), zeros);
      const fs::path out = dir / "weights";
      const std::string command =
          str("python3 ", shell_word((test::source_dir() / "tests/fixtures/read_gptq.py").string()),
              ' ', shell_word(dir.path().string()), ' ', shell_word(out.string()));
      REQUIRE(std::system(command.c_str()) == 0);
      const std::string bytes = read_file(out);
      std::vector<double> read(bytes.size() / sizeof(double));
      std::memcpy(read.data(), bytes.data(), bytes.size());
      std::vector<const NamedQTensor*> layers;
      for (const NamedQTensor& t : q.tensors) layers.push_back(&t);
      // Without ".weight", as the reader sorts them.
      std::ranges::sort(layers, {}, [](const NamedQTensor* t) {
        return t->name.substr(0, t->name.size() - std::string_view(".weight").size());
      });
      std::vector<double> expected;
      for (const NamedQTensor* t : layers) {
        for (const real w : dequantize(t->q)) expected.push_back(static_cast<double>(w));
      }
      // Products of a half and a whole number below 2^9 are exact in float.
      CHECK(read == expected);
    }
  }
}

TEST_CASE("what a GPTQ checkpoint does not hold is refused with advice") {
  const auto refused = [](nn::Model& model, const Plan& plan, GptqZeros zeros = GptqZeros::v2) {
    const TemporaryDirectory dir;
    const Quantized q = rounded(model, plan);
    const ErrorParts e = error_of([&] { save_gptq(model, q, dir.path(), zeros); });
    CHECK(e.fault == Fault::input);
    CHECK_FALSE(fs::exists(dir / nn::kConfigFile));
    return e.what + " | " + e.found + " | " + e.expected + " | " + e.hint;
  };
  const auto has = [](const std::string& text, const char* part) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  };
  const Plan good = plan_of(4, GridKind::narrow);
  Plan plan = good;
  plan.table = good.weights;
  has(refused(*gpt(), plan), "--embedding fp32");
  plan = good;
  plan.weights.scale = ScaleType::f32;
  has(refused(*gpt(), plan), "--scale f16");
  has(refused(*gpt(), plan_of(6, GridKind::narrow)), "2, 3, 4 or 8");
  has(refused(*gpt(), plan_of(2, GridKind::seq)), "narrow, full");
  has(refused(*gpt(), plan_of(4, GridKind::nf4)), "narrow, full");
  plan = good;
  plan.activations = ActivationSpec{};
  has(refused(*gpt(), plan), "fp32 activations");
  plan = good;
  plan.rules = {{"h.0.mlp.c_fc", std::nullopt}};
  has(refused(*gpt(), plan), "--skip");
  plan.rules = {{"h.0.mlp.c_fc", plan_of(8, GridKind::narrow).weights}};
  has(refused(*gpt(), plan), "int8");
  has(refused(*test::make_gpt(), good), "a multiple of 8");
  // A row of weights above 0 has its zero point at the lowest code, which is v1's undefined one.
  const auto model = gpt();
  for (real& w : model->params().find("h.0.mlp.c_fc.weight")->value.flat()) w = std::fabs(w);
  has(refused(*model, plan_of(4, GridKind::asymmetric), GptqZeros::v1), "gptq_v2");
}

TEST_CASE("others' GPTQ checkpoints are read, or refused by tensor or key") {
  const auto model = llama();
  const Quantized q = rounded(*model, plan_of(4, GridKind::full, 16));
  const std::string stem = "model.layers.0.mlp.up_proj";
  const TemporaryDirectory dir;
  save_gptq(*model, q, dir.path(), GptqZeros::v1);
  const Json config = test::config_json(dir.path());
  const auto with = [&](const std::string& key, const Json& value) {
    Json about = config.at("quantization_config", ""), changed = config;
    about.set(key, value);
    write_file(dir / nn::kConfigFile, changed.set("quantization_config", about).dump());
  };
  const auto field = [&] { return error_of([&] { load_any(dir.path()); }).field; };
  const struct {
    const char *key, *value;
  } refused[] = {{"bits", "5"},
                 {"group_size", "0"},
                 {"group_size", "24"},
                 {"checkpoint_format", "\"marlin\""},
                 {"pack_dtype", "\"int16\""},
                 {"dynamic", "{\"-:.*down.*\": {}}"},
                 {"lm_head", "true"}};
  for (const auto& [key, value] : refused) {
    CAPTURE(key, value);
    with(key, Json::parse(value, ""));
    const ErrorParts e = error_of([&] { load_any(dir.path()); });
    CHECK(e.fault == Fault::input);
    CHECK_FALSE(e.field.empty());
  }
  // A tied head is no matrix of its own, whatever the config says.
  const TemporaryDirectory tied;
  const auto other = gpt(true, false);
  save_gptq(*other, rounded(*other, plan_of(4, GridKind::narrow)), tied.path(), GptqZeros::v1);
  Json tied_config = test::config_json(tied.path());
  Json tied_about = tied_config.at("quantization_config", "");
  write_file(tied / nn::kConfigFile,
             tied_config.set("quantization_config", tied_about.set("lm_head", true)).dump());
  CHECK_NOTHROW(load_any(tied.path()));
  with("quant_method", Json("awq"));
  CHECK(field() == "quantization_config.quant_method");
  // AutoGPTQ's first files: no quantization_config, no method, no format.
  Json bare = Json::object();
  for (const auto& [key, value] : config.as_object("")) {
    if (key != "quantization_config") bare.set(key, value);
  }
  write_file(dir / nn::kConfigFile, bare.dump());
  write_file(dir / "quantize_config.json", R"({"bits": 4, "group_size": 16, "desc_act": true})");
  CHECK(named(load_any(dir.path()).tensors, stem + ".weight").q.codes ==
        named(q.tensors, stem + ".weight").q.codes);

  rewrite<std::int32_t>(dir.path(), stem + ".g_idx", [](auto& g) { std::swap(g[0], g[63]); });
  CHECK(field() == stem + ".g_idx");
  rewrite<std::int32_t>(dir.path(), stem + ".g_idx", [](auto& g) { std::swap(g[0], g[63]); });
  rewrite<std::uint32_t>(dir.path(), stem + ".qzeros", [](auto& z) { z[3] |= 0xf00; });
  CHECK(field() == stem + ".qzeros");
  rewrite<std::uint32_t>(dir.path(), stem + ".qzeros", [](auto& z) { z[3] &= 0x77777777; });
  CHECK_NOTHROW(load_any(dir.path()));
  rewrite<std::uint16_t>(dir.path(), stem + ".scales", [](auto& s) { s[2] = 0x7c00; });
  CHECK(error_of([&] { load_any(dir.path()); }).fault == Fault::input);  // an infinite scale

  // Without g_idx the groups are those of the inputs in their order, unless the config denies it.
  const auto drop = [&] {
    rewrite<std::uint16_t>(
        dir.path(), stem + ".scales", [](auto& s) { s[2] = 0x3c00; }, stem + ".g_idx");
  };
  drop();
  CHECK(field() == stem + ".g_idx");
  with("desc_act", Json(false));
  CHECK_NOTHROW(load_any(dir.path()));
}

}  // namespace gptq_checkpoint_test
