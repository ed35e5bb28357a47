// Models to GGUF and back, and what llama.cpp expects of them: names, keys, the order of rows.
#include "quant/store/gguf_model.h"

#include <cmath>

#include "autograd/base/rng.h"
#include "nn/llama.h"
#include "quant/store/gguf_architectures.h"
#include "quant/store/gguf_encode.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/quant/quantized_models.h"

namespace gguf_model_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

const nn::GgufType& type(std::string_view name) { return *nn::gguf_type(name); }

GgufVocabulary letters(std::int64_t n) {
  GgufVocabulary v{.merges = {"a b"}, .pre = "qwen2", .bos = 2, .eos = 3, .add_bos = true};
  for (std::int64_t i = 0; i < n; ++i) {
    v.tokens.push_back(std::string(1, static_cast<char>('a' + i)));
    v.kinds.push_back(i == 3 ? GgufVocabulary::kControl : GgufVocabulary::kNormal);
  }
  return v;
}

nn::LlamaConfig small_llama(bool tied) {
  return {.vocab_size = 11,
          .block_size = 8,
          .n_layer = 2,
          .n_head = 4,
          .n_kv_head = 2,
          .n_embd = 64,
          .n_inner = 96,
          .rope_theta = 5000,
          .rms_norm_eps = 1e-6,
          .tie_embeddings = tied,
          .token_ids = {.bos = 2, .eos = {3}}};
}

std::unique_ptr<nn::Llama> make_llama(bool tied) {
  auto model = std::make_unique<nn::Llama>(small_llama(tied));
  model->init(5);
  Rng rng(6, 0);  // norms of 1 would hide an exchange
  for (Param& p : model->params().params()) {
    if (p.value.shape.rank() == 1)
      for (real& v : p.value.flat()) v = static_cast<real>(1 + 0.1 * rng.normal());
  }
  return model;
}

const Spec kFour{
    .bits = 4, .granularity = Granularity::group, .group_size = 32, .scale = ScaleType::f16};
const Spec kEight{.bits = 8, .scale = ScaleType::f16};

TEST_CASE("a GPT that comes back from GGUF is the one that went") {
  for (const bool tied : {true, false}) {
    for (const bool bias : {true, false}) {
      nn::GptConfig config = test::config_of(tied, bias);
      config.n_embd = 32, config.gelu = Gelu::tanh;
      const auto model = test::make_gpt(config);
      const GgufVocabulary vocabulary = letters(11);
      const test::TemporaryDirectory dir;
      save_gguf(*model, {}, vocabulary, {.type = &type("F32")}, "tiny", dir / "m.gguf");
      const GgufModel back = load_gguf(dir / "m.gguf");
      CHECK(test::same_bits(test::logits(*back.model), test::logits(*model)));
      CHECK(back.model->head_is_tied() == tied);
      CHECK(back.vocabulary == vocabulary);

      const Quantized q = test::rounded(*model, {.weights = kFour, .table = kEight});
      CHECK(save_gguf(*model, q.tensors, vocabulary, {.type = &type("F16")}, "tiny", dir / "q.gguf")
                .empty());
      const GgufModel codes = load_gguf(dir / "q.gguf");
      CHECK(test::same_bits(test::logits(*codes.model), test::logits(*model)));
    }
  }
}

TEST_CASE("a Llama that comes back from GGUF is the one that went") {
  for (const bool tied : {true, false}) {
    const auto model = make_llama(tied);
    const test::TemporaryDirectory dir;
    save_gguf(*model, {}, letters(11), {.type = &type("F32")}, "tiny", dir / "m.gguf");
    const GgufModel back = load_gguf(dir / "m.gguf");
    CHECK(dynamic_cast<const nn::Llama&>(*back.model).config() == small_llama(tied));
    CHECK(test::same_bits(test::logits(*back.model), test::logits(*model)));
    CHECK((nn::GgufFile::open(dir / "m.gguf").tensor("output.weight") != nullptr) == !tied);

    const Quantized q = test::rounded(*model, {.weights = kFour, .table = kEight});
    save_gguf(*model, q.tensors, letters(11), {.type = &type("F16")}, "tiny", dir / "q.gguf");
    CHECK(nn::GgufFile::open(dir / "q.gguf").tensor("blk.1.attn_k.weight")->type->name == "Q4_0");
    CHECK(test::same_bits(test::logits(*load_gguf(dir / "q.gguf").model), test::logits(*model)));
  }
}

/// What loading the model says of the file's metadata that `change` has changed.
template <class Change>
ErrorParts load_error(const Change& change, const nn::Model& model) {
  const test::TemporaryDirectory dir;
  save_gguf(model, {}, letters(11), {.type = &type("F32")}, "tiny", dir / "m.gguf");
  const nn::GgufFile file = nn::GgufFile::open(dir / "m.gguf");
  std::vector<nn::GgufEntry> entries = file.metadata();
  std::erase_if(entries, [](const nn::GgufEntry& e) { return e.key.starts_with("notch."); });
  change(entries);
  std::vector<nn::GgufSource> sources;
  for (const nn::GgufTensor& t : file.tensors()) {
    const bool vector = t.extents.size() == 1;
    sources.push_back({t.name, t.type, vector ? 1 : t.extents[1], t.extents[0], vector,
                       [&](std::int64_t first, std::int64_t n, auto& out) {
                         const auto row = static_cast<std::uint64_t>(4 * t.extents[0]);
                         std::vector<std::byte> part(row * static_cast<std::uint64_t>(n));
                         file.read(t, part, row * static_cast<std::uint64_t>(first));
                         out.insert(out.end(), part.begin(), part.end());
                       }});
  }
  nn::write_gguf(dir / "n.gguf", entries, sources);
  try {
    load_gguf(dir / "n.gguf");
  } catch (const Error& e) {
    CHECK(e.parts().fault == Fault::input);
    return e.parts();
  }
  return {.field = "loads"};
}

template <class Change>
ErrorParts load_error(const Change& change) {
  return load_error(change, *make_llama(false));
}

TEST_CASE("Llama 3.1's scaled positions go to GGUF and come back") {
  nn::LlamaConfig config = small_llama(false);
  config.rope_scaling.factor = 8;
  config.rope_theta = 5e5;
  auto model = std::make_unique<nn::Llama>(config);
  model->init(5);
  const test::TemporaryDirectory dir;
  save_gguf(*model, {}, letters(11), {.type = &type("F32")}, "tiny", dir / "m.gguf");
  const nn::GgufFile file = nn::GgufFile::open(dir / "m.gguf");
  const nn::GgufTensor* t = file.tensor("rope_freqs.weight");
  CHECK((t->type->name == "F32" && t->extents == std::vector<std::int64_t>{8}));
  std::vector<float> divisors(8);
  file.read(*t, std::as_writable_bytes(std::span(divisors)));
  // Heads of 16: pair i turns once in 2 pi 500000^(i/8) positions: 863 at i = 3, 4443 at 4, 22907 at 5.
  CHECK(std::vector(divisors.begin(), divisors.begin() + 4) == std::vector<float>(4, 1));
  CHECK(divisors[4] == Approx(2.69453).epsilon(1e-5));  // as rotary_positions_test has it
  CHECK(std::vector(divisors.begin() + 5, divisors.end()) == std::vector<float>(3, 8));
  const GgufModel back = load_gguf(dir / "m.gguf");
  CHECK(dynamic_cast<const nn::Llama&>(*back.model).config() == config);
  CHECK(test::same_bits(test::logits(*back.model), test::logits(*model)));

  // Any scaling of ours; of a file without our keys (load_error takes them out) Llama 3.1's, by its
  // largest divisor.
  for (const auto& [scaling, is_theirs] :
       {std::pair{nn::RopeScaling{.factor = 1.3}, true},
        {nn::RopeScaling{.factor = 8, .original_context = 4096}, false},
        {nn::RopeScaling{.factor = 1.00000001, .low_freq_factor = 1e-300}, false},
        {nn::RopeScaling{.factor = 8.123456789, .low_freq_factor = 3.99999999}, false},
        {nn::RopeScaling{.factor = 8, .low_freq_factor = 0.001}, false},  // none is divided whole
        {nn::RopeScaling{.factor = 8, .original_context = 1 << 23}, false}}) {  // nor any else
    config.rope_scaling = scaling;
    const std::string path = dir / "o.gguf";
    nn::Llama scaled(config);
    scaled.init(5);
    save_gguf(scaled, {}, letters(11), {.type = &type("F32")}, "tiny", path);
    CHECK(dynamic_cast<const nn::Llama&>(*load_gguf(path).model).config() == config);
    const ErrorParts theirs = load_error([](auto&) {}, scaled);
    CHECK(theirs.field == (is_theirs ? "loads" : "rope_freqs.weight"));
  }
}

TEST_CASE("rows of q and k lie in llama.cpp's order") {
  // conversion/llama.py, permute: reshape(heads, 2, S/2, in).swapaxes(1, 2): a head of S = 16 rows
  // 0 … 15 becomes 0, 8, 1, 9, 2, 10, …
  const auto model = make_llama(false);
  const test::TemporaryDirectory dir;
  save_gguf(*model, {}, letters(11), {.type = &type("F32")}, "tiny", dir / "m.gguf");
  const nn::GgufFile file = nn::GgufFile::open(dir / "m.gguf");
  const auto row_of_file = [&](const char* name, std::int64_t row) {
    std::vector<float> out(64);
    file.read(*file.tensor(name), std::as_writable_bytes(std::span(out)),
              static_cast<std::uint64_t>(row * 64 * 4));
    return out;
  };
  const auto row_of_model = [&](const char* name, std::int64_t row) {
    const auto all = model->params().find(name)->value.flat();
    return std::vector<float>(all.begin() + row * 64, all.begin() + (row + 1) * 64);
  };
  const char* q = "model.layers.1.self_attn.q_proj.weight";
  const char* k = "model.layers.1.self_attn.k_proj.weight";
  const char* v = "model.layers.1.self_attn.v_proj.weight";
  CHECK(row_of_file("blk.1.attn_q.weight", 1) == row_of_model(q, 8));
  CHECK(row_of_file("blk.1.attn_q.weight", 2) == row_of_model(q, 1));
  CHECK(row_of_file("blk.1.attn_q.weight", 48 + 15) == row_of_model(q, 48 + 15));
  CHECK(row_of_file("blk.1.attn_k.weight", 16 + 5) == row_of_model(k, 16 + 10));
  CHECK(row_of_file("blk.1.attn_v.weight", 5) == row_of_model(v, 5));
}

void set(std::vector<nn::GgufEntry>& entries, const char* key, nn::GgufValue value) {
  const auto at = std::ranges::find(entries, key, &nn::GgufEntry::key);
  if (at == entries.end())
    entries.push_back({key, std::move(value)});
  else
    at->value = std::move(value);
}

TEST_CASE("a GGUF file that says more than the model computes is refused") {
  const auto field_of = [](const auto& change) { return load_error(change).field; };
  using u32 = std::uint32_t;
  CHECK(field_of([](auto&) {}) == "loads");
  for (const auto& [key, value] : std::vector<std::pair<const char*, nn::GgufValue>>{
           {"llama.rope.scaling.type", std::string("yarn")},
           {"llama.rope.scaling.type", u32{1}},
           {"llama.rope.scaling.factor", 2.0f},
           {"llama.rope.scale_linear", 0.5f},
           {"llama.attention.key_length", u32{31}},
           {"llama.attention.value_length", u32{32}},
           {"llama.rope.dimension_count", u32{8}},
           {"llama.attention.head_count_kv", u32{3}},
           {"llama.attention.head_count", u32{3}},
           {"llama.attention.layer_norm_rms_epsilon", -1.0f},
           {"llama.attention.layer_norm_rms_epsilon", 0.0f},
           {"llama.block_count", u32{0}},
           {"llama.embedding_length", std::string("64")},
           {"general.architecture", std::string("qwen3")},
           {"tokenizer.ggml.model", std::string("llama")},
           {"tokenizer.ggml.tokens", std::vector<std::string>{"a"}},
           {"tokenizer.ggml.token_type", std::vector<std::int32_t>{1}},
           {"tokenizer.ggml.eos_token_id", u32{11}}}) {
    CHECK(field_of([&, k = key, v = value](auto& entries) { set(entries, k, v); }) == key);
  }
  // What scales nothing, as llama.cpp reads it: of "none" the factor does not matter.
  for (const auto& [type, factor] :
       {std::pair{"none", 4.0f}, std::pair{"linear", 1.0f}, std::pair{"linear", 0.0f}}) {
    CHECK(field_of([&, t = type, f = factor](auto& entries) {
            set(entries, "llama.rope.scaling.type", std::string(t));
            set(entries, "llama.rope.scaling.factor", f);
          }) == "loads");
  }
  CHECK(field_of([](auto& entries) {
          set(entries, "llama.rope.scaling.type", std::string("linear"));
          set(entries, "llama.rope.scaling.factor", 8.0f);
        }) == "llama.rope.scaling.factor");
}

TEST_CASE("a part of a GGUF model says which one it is") {
  const auto split = [](std::uint16_t number, std::uint16_t count) {
    return load_error([&](auto& entries) {
      set(entries, "split.no", number);
      set(entries, "split.count", count);
    });
  };
  CHECK(split(0, 1).field == "loads");
  CHECK(split(0, 3).field == "split.count");
  CHECK(split(0, 3).found == "part 1 of 3");
  // Parts after the first have tensors and nothing else.
  const ErrorParts last = load_error([](auto& entries) {
    entries = {{"split.no", std::uint16_t{2}}, {"split.count", std::uint16_t{3}}};
  });
  CHECK(last.found == "part 3 of 3");
}

TEST_CASE("a GGUF file names no token that nobody has named") {
  nn::LlamaConfig config = small_llama(true);
  config.token_ids = {};
  nn::Llama model(config);
  model.init(5);
  GgufVocabulary unsaid = letters(11);
  unsaid.bos = unsaid.eos = std::nullopt;
  unsaid.add_bos = false;
  const test::TemporaryDirectory dir;
  save_gguf(model, {}, unsaid, {.type = &type("F32")}, "tiny", dir / "m.gguf");
  const nn::GgufFile file = nn::GgufFile::open(dir / "m.gguf");
  for (const char* key : {kGgufBosKey, kGgufEosKey, "tokenizer.chat_template"}) {
    CAPTURE(key);
    CHECK(file.find(key) == nullptr);
  }
  const GgufModel back = load_gguf(dir / "m.gguf");
  CHECK(back.vocabulary == unsaid);
  CHECK(back.model->token_ids() == nn::TokenIds{});
}

TEST_CASE("a chat template goes to GGUF and comes back") {
  GgufVocabulary v = letters(11);
  v.chat_template = "{% for m in messages %}\n<|\xc3\xa9|>{{ m['content'] }}{% endfor %}";
  const test::TemporaryDirectory dir;
  save_gguf(*make_llama(true), {}, v, {.type = &type("F32")}, "tiny", dir / "m.gguf");
  CHECK(gguf_value<std::string>(nn::GgufFile::open(dir / "m.gguf"), "tokenizer.chat_template") ==
        v.chat_template);
  CHECK(load_gguf(dir / "m.gguf").vocabulary == v);
}

TEST_CASE("numbers that a GGUF file cannot hold leave no file") {
  const auto refusal = [](const nn::LlamaConfig& config, std::string_view floats, real weight) {
    nn::Llama model(config);
    model.init(5);
    model.params().find("model.layers.1.mlp.down_proj.weight")->value.flat().back() = weight;
    const test::TemporaryDirectory dir;
    const ErrorParts e = error_of([&] {
      save_gguf(model, {}, letters(11), {.type = &type(floats)}, "tiny", dir / "m.gguf");
      load_gguf(dir / "m.gguf");
      throw Error({.field = "loads"});
    });
    CHECK(fs::is_empty(dir.path()) == (e.field != "loads"));
    return e;
  };
  nn::LlamaConfig config = small_llama(true);
  CHECK(refusal(config, "F32", 1).field == "loads");
  // The largest half is 65504, and 65520 is the first number that rounds to infinity.
  CHECK(refusal(config, "F16", 65519).field == "loads");
  CHECK(refusal(config, "F16", 65520).where == "blk.1.ffn_down.weight");
  CHECK(refusal(config, "BF16", 65520).field == "loads");
  config.rope_theta = 1e39;  // above the largest float
  CHECK(refusal(config, "F32", 1).field == "llama.rope.freq_base");
  config.rope_theta = 1e30;  // the float next to it is larger, which nothing reads
  CHECK(refusal(config, "F32", 1).field == "llama.rope.freq_base");
  config.rope_theta = 9e29;
  CHECK(refusal(config, "F32", 1).field == "loads");
  config.rms_norm_eps = 0;
  CHECK(refusal(config, "F32", 1).field == "llama.attention.layer_norm_rms_epsilon");
  config.rms_norm_eps = 1e-46;  // below the smallest float
  CHECK(refusal(config, "F32", 1).field == "llama.attention.layer_norm_rms_epsilon");
}

TEST_CASE("what no block holds is rounded once more when asked") {
  const auto model = make_llama(true);
  Spec floats = kFour;
  floats.scale = ScaleType::f32;
  const Quantized q = test::rounded(*model, {.weights = floats, .table = kEight});
  const test::TemporaryDirectory dir;
  GgufOptions options{.type = &type("Q8_0")};
  const auto save = [&] {
    return save_gguf(*model, q.tensors, letters(11), options, "tiny", dir / "m.gguf");
  };
  CHECK(error_of([&] { save(); }).hint.find("--requantize") != std::string::npos);
  CHECK_FALSE(fs::exists(dir / "m.gguf"));
  options.requantize = true;
  const std::vector<Requantized> again = save();
  REQUIRE(std::ssize(again) == 2 * 7);  // all but the table, whose scales are halves
  const GgufModel back = load_gguf(dir / "m.gguf");
  for (const Requantized& r : again) {
    CAPTURE(r.name);
    CHECK(r.type->name == "Q8_0");
    CHECK(r.why.find("no half") != std::string::npos);
    const auto was = model->params().find(r.name)->value.flat();
    const auto is = back.model->params().find(r.name)->value.flat();
    double error = 0, squares = 0;
    for (std::size_t i = 0; i < was.size(); ++i) {
      error += std::pow(double{is[i]} - double{was[i]}, 2), squares += std::pow(double{was[i]}, 2);
    }
    CHECK(r.change == Approx(std::sqrt(error / squares)));
    CHECK(r.change > 0);
    CHECK(r.change < 0.01);  // half a step of 1/127
  }
}

}  // namespace gguf_model_test
