#include "nn/model_dir.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/base/half.h"
#include "autograd/base/rng.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"

namespace model_dir_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::Held;
using notch::test::held;
using notch::test::named;
using notch::test::names_in;
using notch::test::parse_config;
using notch::test::random_model;
using notch::test::read_config;
using notch::test::same_bits;
using notch::test::small;
using notch::test::TemporaryDirectory;
using notch::test::write;

TEST_CASE("a model directory gives its model back bit for bit in any variant") {
  for (const bool bias : {true, false}) {
    for (const bool tied : {true, false}) {
      for (const Gelu gelu : {Gelu::exact, Gelu::tanh}) {
        const TemporaryDirectory dir;
        GptConfig config = small();
        config.bias = bias;
        config.tie_embeddings = tied;
        config.gelu = gelu;
        config.dropout = 0.1;
        const auto model = random_model(config);
        save_model(*model, dir.path());
        CHECK(read_config(dir.path()) == config);
        const auto back = load_model(dir.path());
        CHECK(back->config_json().dump() == model->config_json().dump());
        CHECK(same_bits(*model, *back));
      }
    }
  }
}

TEST_CASE("the file has the published GPT-2's names and Conv1D's orientation") {
  const TemporaryDirectory dir;
  GptConfig config = small();
  config.n_layer = 1;
  const auto model = random_model(config);
  save_model(*model, dir.path());
  // The names of huggingface.co/openai-community/gpt2, but for its mask buffers.
  CHECK(names_in(dir / kWeightsFile) ==
        std::vector<std::string>{
            "h.0.attn.c_attn.bias", "h.0.attn.c_attn.weight", "h.0.attn.c_proj.bias",
            "h.0.attn.c_proj.weight", "h.0.ln_1.bias", "h.0.ln_1.weight", "h.0.ln_2.bias",
            "h.0.ln_2.weight", "h.0.mlp.c_fc.bias", "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.bias",
            "h.0.mlp.c_proj.weight", "ln_f.bias", "ln_f.weight", "wpe.weight", "wte.weight"});
  const SafetensorsFile file = SafetensorsFile::open(dir / kWeightsFile);
  CHECK(file.metadata() == Metadata{{"format", "pt"}});
  for (const TensorEntry& entry : file.entries()) CHECK(entry.dtype == DType::f32);
  CHECK(file.find("wte.weight")->shape == FileShape{11, 4});
  CHECK(file.find("wpe.weight")->shape == FileShape{6, 4});
  CHECK(file.find("h.0.mlp.c_fc.weight")->shape == FileShape{4, 16});
  CHECK(file.find("h.0.mlp.c_proj.weight")->shape == FileShape{16, 4});
  const TensorEntry& c_attn = *file.find("h.0.attn.c_attn.weight");
  REQUIRE(c_attn.shape == FileShape{4, 12});
  std::vector<real> values(48);
  file.read(c_attn, values);
  const Tensor ours = model->params().find("h.0.attn.c_attn.weight")->value;
  for (std::size_t in = 0; in < 4; ++in) {
    for (std::size_t out = 0; out < 12; ++out) {
      CHECK(values[in * 12 + out] == ours.flat()[out * 4 + in]);
    }
  }
}

TEST_CASE("a weight larger than one piece is transposed as a whole") {
  const TemporaryDirectory dir;
  GptConfig config = small();
  config.n_layer = 1;
  config.n_embd = 260;  // c_fc has 270400 elements
  const auto model = random_model(config);
  save_model(*model, dir.path());
  const auto back = load_model(dir.path());
  CHECK(same_bits(*model, *back));
  std::vector<Held> tensors = held(dir / kWeightsFile);
  const Held& c_fc = named(tensors, "h.0.mlp.c_fc.weight");
  const Tensor ours = model->params().find("h.0.mlp.c_fc.weight")->value;
  bool transposed = true;
  for (std::size_t in = 0; in < 260; ++in) {
    for (std::size_t out = 0; out < 1040; ++out) {
      transposed = transposed && c_fc.values[in * 1040 + out] == ours.flat()[out * 260 + in];
    }
  }
  CHECK(transposed);
}

TEST_CASE("an untied model has its names below transformer. but for the head") {
  const TemporaryDirectory dir;
  GptConfig config = small();
  config.tie_embeddings = false;
  save_model(*random_model(config), dir.path());
  int others = 0;
  for (const std::string& name : names_in(dir / kWeightsFile)) {
    if (!name.starts_with("transformer.")) {
      ++others;
      CHECK(name == "lm_head.weight");
    }
  }
  CHECK(others == 1);
}

TEST_CASE("a model without biases writes zeros and refuses to read others") {
  const TemporaryDirectory dir;
  GptConfig config = small();
  config.bias = false;
  save_model(*random_model(config), dir.path());
  const Json json = read_config_json(dir.path());
  CHECK_FALSE(json.at("notch", "").at("bias", "").as_bool(""));
  std::vector<Held> tensors = held(dir / kWeightsFile);
  int biases = 0;
  for (const Held& t : tensors) {
    if (!t.name.ends_with(".bias")) continue;
    ++biases;
    CHECK(std::all_of(t.values.begin(), t.values.end(), [](real v) { return v == 0; }));
  }
  CHECK(biases == 2 * 6 + 1);
  named(tensors, "h.1.ln_2.bias").values[3] = real(1e-9);
  write(dir / kWeightsFile, tensors);
  const ErrorParts e = error_of([&] { load_model(dir.path()); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "h.1.ln_2.bias");
  CHECK(e.expected == "0");
}

TEST_CASE("a file as transformers writes it is read, with all its extras") {
  const TemporaryDirectory dir;
  auto model = random_model(small());
  for (Param& p : model->params().params()) {  // values that 16 bits hold exactly
    for (real& v : p.value.flat()) v = std::round(v * 64) / 64;
  }
  save_model(*model, dir.path());
  std::vector<Held> tensors = held(dir / kWeightsFile);
  tensors.push_back({"lm_head.weight", {11, 4}, named(tensors, "wte.weight").values});
  for (Held& t : tensors) {
    if (t.name != "lm_head.weight") t.name = "transformer." + t.name;
  }
  tensors.push_back({"transformer.h.0.attn.bias", {1, 1, 6, 6}, std::vector<real>(36)});
  tensors.push_back({"transformer.h.1.attn.masked_bias", {}, {real(-1e4)}});
  // The members that matter of huggingface.co/openai-community/gpt2's config.json, whose
  // tie_word_embeddings is the default.
  write_file(dir / kConfigFile,
             R"({"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
                 "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1,
                 "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
                 "model_type": "gpt2", "n_ctx": 6, "n_embd": 4, "n_head": 2, "n_layer": 2,
                 "n_positions": 6, "resid_pdrop": 0.1, "summary_first_dropout": 0.1,
                 "vocab_size": 11})");
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
    if (dtype == DType::bf16) {
      for (Held& t : tensors) {
        for (real& v : t.values) v = std::round(v);
      }
      for (Param& p : model->params().params()) {
        for (real& v : p.value.flat()) v = std::round(v);
      }
    }
    write(dir / kWeightsFile, tensors, dtype);
    const auto back = load_model(dir.path());
    const GptConfig& read = dynamic_cast<const Gpt&>(*back).config();
    CHECK(read.gelu == Gelu::tanh);
    CHECK(read.bias);
    CHECK(read.tie_embeddings);
    CHECK(read.dropout == 0.1);
    CHECK(same_bits(*model, *back));
  }
  named(tensors, "lm_head.weight").values[43] += 1;
  write(dir / kWeightsFile, tensors);
  const ErrorParts e = error_of([&] { load_model(dir.path()); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "lm_head.weight");
}

TEST_CASE("missing, extra and misshapen tensors are named with both shapes") {
  const TemporaryDirectory dir;
  save_model(*random_model(small()), dir.path());
  const std::vector<Held> good = held(dir / kWeightsFile);
  const auto refusal = [&](const std::vector<Held>& tensors) {
    write(dir / kWeightsFile, tensors);
    ErrorParts e = error_of([&] { load_model(dir.path()); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where == (dir / kWeightsFile).string());
    return e;
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::vector<Held> tensors = good;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    const ErrorParts missing = refusal(tensors);
    CHECK(missing.field == good[i].name);
    CHECK(missing.expected == to_text(good[i].shape));
    tensors.push_back({good[i].name, {2}, {0, 0}});
    const ErrorParts misshapen = refusal(tensors);
    CHECK(misshapen.field == good[i].name);
    CHECK(misshapen.found == "[2]");
    CHECK(misshapen.expected == to_text(good[i].shape));
  }
  for (const char* name :
       {"h.2.ln_1.weight", "x", "h.attn.bias", "h.x.attn.bias", "h.0.attn.biases",
        "transformer.wte.weight", "transformer.lm_head.weight"}) {
    std::vector<Held> tensors = good;
    tensors.push_back({name, {1}, {0}});
    const ErrorParts extra = refusal(tensors);
    CHECK(extra.field == name);
    CHECK(extra.found == "[1]");
  }
}

TEST_CASE("a model file with integers or non-finite values is refused") {
  const TemporaryDirectory dir;
  save_model(*random_model(small()), dir.path());
  std::vector<Held> tensors = held(dir / kWeightsFile);
  named(tensors, "h.0.mlp.c_fc.weight").values[5] = std::numeric_limits<real>::quiet_NaN();
  write(dir / kWeightsFile, tensors);
  const ErrorParts e = error_of([&] { load_model(dir.path()); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "h.0.mlp.c_fc.weight");

  std::vector<TensorSource> sources;
  const std::vector<std::int32_t> zeros(1000);
  for (const Held& t : tensors) {
    const auto bytes = std::as_bytes(std::span(zeros)).first(4 * t.values.size());
    sources.push_back(raw_tensor(t.name, DType::i32, t.shape, bytes));
  }
  write_safetensors(dir / kWeightsFile, sources);
  CHECK(error_of([&] { load_model(dir.path()); }).found == "I32");
  sources.clear();
  for (const Held& t : tensors) {
    const auto bytes = std::as_bytes(std::span(zeros)).first(t.values.size());
    sources.push_back(raw_tensor(t.name, DType::f8_e4m3, t.shape, bytes));
  }
  write_safetensors(dir / kWeightsFile, sources);
  const ErrorParts short_floats = error_of([&] { load_model(dir.path()); });
  CHECK(short_floats.found == "F8_E4M3");
  CHECK(short_floats.what.find("not a floating-point") == std::string::npos);
}

TEST_CASE("a config that the model cannot compute is refused by its key") {
  const Json good = config_json(small());
  CHECK(parse_config(good, "c.json") == small());
  const auto refusal = [&](const char* key, Json value) {
    Json json = good;
    json.set(key, std::move(value));
    ErrorParts e = error_of([&] { parse_config(json, "c.json"); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where.starts_with("c.json"));
    return e;
  };
  const std::vector<std::pair<const char*, Json>> bad{{"model_type", "mistral"},
                                                      {"model_type", Json()},
                                                      {"n_layer", 0},
                                                      {"n_layer", -1},
                                                      {"n_layer", 1 << 30},
                                                      {"n_head", 3},
                                                      {"n_head", 8},
                                                      {"n_embd", 1 << 30},
                                                      {"n_positions", 0},
                                                      {"vocab_size", 0},
                                                      {"vocab_size", std::int64_t{1} << 40},
                                                      {"layer_norm_epsilon", 0.0},
                                                      {"n_inner", 0},
                                                      {"activation_function", "relu"},
                                                      {"attn_pdrop", 1.0},
                                                      {"embd_pdrop", 1.0},
                                                      {"embd_pdrop", -0.1},
                                                      {"scale_attn_weights", false},
                                                      {"add_cross_attention", true},
                                                      {"scale_attn_by_inverse_layer_idx", true}};
  for (const auto& [key, value] : bad) CHECK(refusal(key, value).field == key);
  for (const char* key : {"n_layer", "n_head", "n_embd", "n_positions", "vocab_size"}) {
    CHECK(refusal(key, "4").where == std::string("c.json: ") + key);
    CHECK(refusal(key, 4.0).fault == Fault::input);
    refusal(key, Json());
  }
  refusal("notch", 1);
  refusal("notch", Json::object());
  CHECK(refusal("notch", Json::object().set("version", 2)).field == "notch.version");
  CHECK(error_of([&] { parse_config(Json::array(), "c.json"); }).fault == Fault::input);
  const ErrorParts missing =
      error_of([&] { parse_config(Json::object().set("model_type", "gpt2"), "c.json"); });
  CHECK(missing.field == "vocab_size");
  // Another architecture is named before what else differs in it.
  Json unknown = Json::object();
  unknown.set("model_type", "mistral").set("hidden_size", 4);
  const ErrorParts other = error_of([&] { parse_config(unknown, "c.json"); });
  CHECK(other.field == "model_type");
  CHECK(other.found == "\"mistral\"");
  CHECK_FALSE(other.hint.empty());
}

TEST_CASE("callers add to config.json, packed weights are not read as plain") {
  const TemporaryDirectory dir;
  const auto model = random_model(small());
  save_model(*model, dir.path(), Json::object().set("eos_token_id", 5));
  CHECK(read_config_json(dir.path()).at("eos_token_id", "").as_int("") == 5);
  CHECK(same_bits(*load_model(dir.path()), *model));
  save_model(*model, dir.path(), Json::object().set("quantization_config", Json::object()));
  CHECK(error_of([&] { load_model(dir.path()); }).field == "quantization_config");
}

TEST_CASE("a 16-bit directory holds weights rounded half to even, and says so") {
  const TemporaryDirectory dir;
  const auto model = random_model(small());
  save_model(*model, dir.path(), Json::object(), DType::f16);
  CHECK(read_config_json(dir.path()).at("torch_dtype", "").as_string("") == "float16");
  const SafetensorsFile file = SafetensorsFile::open(dir / kWeightsFile);
  for (const TensorEntry& entry : file.entries()) CHECK(entry.dtype == DType::f16);
  const auto back = load_model(dir.path());
  for (const Param& p : model->params().params()) {
    const Tensor rounded = back->params().find(p.name)->value;
    for (std::size_t i = 0; i < p.value.flat().size(); ++i) {
      CHECK(rounded.flat()[i] == from_f16(to_f16(static_cast<float>(p.value.flat()[i]))));
    }
  }
}

TEST_CASE("a directory without its files is an I/O error") {
  const TemporaryDirectory dir;
  CHECK(error_of([&] { load_model(dir.path()); }).fault == Fault::io);
  save_model(*random_model(small()), dir.path());
  fs::remove(dir / kWeightsFile);
  CHECK(error_of([&] { load_model(dir.path()); }).fault == Fault::io);
  write_file(dir / kConfigFile, "{");
  CHECK(error_of([&] { load_model(dir.path()); }).fault == Fault::input);
}

}  // namespace model_dir_test
