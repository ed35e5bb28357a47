// Llama: names, files, and the identities its parts must satisfy. (Against PyTorch:
// tests/optim/torch_fixture_test.cpp; gradients: tests/gradients/models_test.cpp.)

#include "nn/llama.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/base/rng.h"
#include "nn/generate.h"
#include "nn/model_dir.h"
#include "nn/resized.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/held_model.h"
#include "tests/nn/rounding_bound.h"
#include "tests/random_ids.h"

namespace notch::nn::llama_test {

using test::TemporaryDirectory;
using Reals = std::vector<real>;
constexpr auto kInference = Graph::Mode::inference;

LlamaConfig tiny(bool tied = false) {
  return {.vocab_size = 13,
          .block_size = 12,
          .n_layer = 2,
          .n_head = 4,
          .n_kv_head = 2,
          .n_embd = 16,
          .n_inner = 24,
          .rope_theta = 50,
          .tie_embeddings = tied};
}

/// Weights of a size at which every layer matters.
std::unique_ptr<Llama> lively(const LlamaConfig& config = tiny()) {
  auto model = std::make_unique<Llama>(config);
  Rng rng(3);
  for (Param& p : model->params().params()) {
    const bool matrix = p.value.shape.rank() == 2;
    for (real& v : p.value.flat()) v = static_cast<real>((matrix ? 0 : 1) + 0.3 * rng.normal());
  }
  return model;
}

std::vector<std::int32_t> some_ids(std::size_t n) { return test::random_ids(n, 13, 5); }

Reals copy(Var v) { return {v.value().flat().begin(), v.value().flat().end()}; }

Reals logits_of(const Model& model, std::span<const std::int32_t> ids, KvCache* cache = nullptr) {
  Graph g;
  g.begin(kInference);
  return copy(model.logits(g, {ids, 1, std::ssize(ids)}, cache));
}

TEST_CASE("a Llama's parameters have transformers' names and shapes") {
  const Llama model(tiny(), Model::Values::shapes_only);
  const std::string layer = "model.layers.1.";
  const std::vector<std::pair<std::string, Shape>> expected{
      {"model.embed_tokens.weight", {13, 16}},
      {layer + "input_layernorm.weight", {16}},
      {layer + "self_attn.q_proj.weight", {16, 16}},
      {layer + "self_attn.k_proj.weight", {8, 16}},  // two heads of four channels
      {layer + "self_attn.v_proj.weight", {8, 16}},
      {layer + "self_attn.o_proj.weight", {16, 16}},
      {layer + "post_attention_layernorm.weight", {16}},
      {layer + "mlp.gate_proj.weight", {24, 16}},
      {layer + "mlp.up_proj.weight", {24, 16}},
      {layer + "mlp.down_proj.weight", {16, 24}},
      {"model.norm.weight", {16}},
      {"lm_head.weight", {13, 16}}};
  for (const auto& [name, shape] : expected) {
    CAPTURE(name);
    const Param* p = model.params().find(name);
    REQUIRE(p);
    CHECK(p->value.shape == shape);
  }
  CHECK(model.params().params().size() == 3 + 2 * 9);
  // All but the table that is only looked up.
  CHECK(model.matrix_weights() == 2 * (2 * 256 + 2 * 128 + 3 * 384) + 13 * 16);
  CHECK(Llama(tiny(true), Model::Values::shapes_only).params().find("lm_head.weight") == nullptr);
}

TEST_CASE("sizes that make no Llama are refused") {
  for (const auto& change : std::vector<void (*)(LlamaConfig&)>{
           [](LlamaConfig& c) { c.n_head = 3; }, [](LlamaConfig& c) { c.n_kv_head = 3; },
           [](LlamaConfig& c) { c.n_head = c.n_kv_head = 16; },  // heads of one channel
           [](LlamaConfig& c) { c.n_inner = 0; }, [](LlamaConfig& c) { c.n_kv_head = 0; }}) {
    LlamaConfig config = tiny();
    change(config);
    CHECK(test::error_of([&] { Llama(config, Model::Values::shapes_only); }).where == "llama");
  }
  const auto model = lively();
  CHECK(test::error_of([&] { logits_of(*model, some_ids(13)); }).where == "llama");
}

TEST_CASE("a Llama's stages composed by hand equal hidden() bit for bit") {
  const auto model = lively();
  const auto ids = some_ids(24);
  Graph g;
  g.begin(kInference);
  const Reals expected = copy(model->hidden(g, {ids, 2, 12}));
  g.begin(kInference);
  Var x = model->embed(g, {ids, 2, 12});
  std::vector<std::string> order;
  for (const Stage& stage : model->stages()) {
    x = stage.run(g, x);
    for (const Linear* l : stage.linears()) order.push_back(l->name.substr(l->name.rfind('.') + 1));
  }
  CHECK(copy(x) == expected);
  const std::vector<std::string> block{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                       "gate_proj", "up_proj", "down_proj"};
  REQUIRE(order.size() == 14);
  CHECK(std::equal(block.begin(), block.end(), order.begin()));
  CHECK(std::equal(block.begin(), block.end(), order.begin() + 7));
}

TEST_CASE("no position of a Llama sees a later one, and each feels its place") {
  const auto model = lively();
  auto ids = some_ids(12);
  const Reals before = logits_of(*model, ids);
  ids[7] = (ids[7] + 1) % 13;
  const Reals after = logits_of(*model, ids);
  CHECK(std::equal(before.begin(), before.begin() + 7 * 13, after.begin()));
  CHECK_FALSE(std::equal(before.begin() + 7 * 13, before.begin() + 8 * 13, after.begin() + 7 * 13));
  // The same set of tokens before the last, in another order: attention without positions would
  // give the last one the same logits.
  std::vector<std::int32_t> swapped{1, 2, 3, 4, 5}, straight{2, 1, 3, 4, 5};
  const Reals a = logits_of(*model, swapped), b = logits_of(*model, straight);
  double largest = 0;
  for (std::size_t i = 4 * 13; i < a.size(); ++i)
    largest = std::max(largest, std::fabs(static_cast<double>(a[i] - b[i])));
  CHECK(largest > 1e-3);
}

TEST_CASE("a Llama's cached logits equal those of one full pass") {
  const auto model = lively();
  const auto ids = some_ids(12);
  const Reals full = logits_of(*model, ids);
  const std::vector<double> bounds = test::rounding_bounds(*model, {ids, 1, 12}, 16 + 12);
  CHECK(std::ranges::max(bounds) < 2e-2);
  for (const std::vector<std::size_t>& cut :
       {std::vector<std::size_t>{12}, {9, 3}, {1, 11}, std::vector<std::size_t>(12, 1)}) {
    Fp32KvCache cache(kv_shape(model->sizes()));
    Reals pieced;
    std::size_t at = 0;
    for (const std::size_t n : cut) {
      const Reals part = logits_of(*model, std::span(ids).subspan(at, n), &cache);
      pieced.insert(pieced.end(), part.begin(), part.end());
      at += n;
    }
    for (std::size_t i = 0; i < full.size(); ++i)
      REQUIRE(std::abs(static_cast<double>(full[i]) - static_cast<double>(pieced[i])) <= bounds[i]);
  }
  // Half of the heads: half of the memory of as many heads of keys.
  LlamaConfig whole = tiny();
  whole.n_kv_head = 4;
  const Llama other(whole, Model::Values::shapes_only);
  CHECK(2 * Fp32KvCache(kv_shape(model->sizes())).bytes() ==
        Fp32KvCache(kv_shape(other.sizes())).bytes());
}

TEST_CASE("a Llama's directory has transformers' names and comes back") {
  for (const bool tied : {false, true}) {
    const TemporaryDirectory dir;
    const auto model = lively(tiny(tied));
    save_model(*model, dir.path());
    std::vector<std::string> expected;
    for (const Param& p : model->params().params()) expected.push_back(p.name);
    std::ranges::sort(expected);
    CHECK(test::names_in(dir.path() / kWeightsFile) == expected);
    const auto file = SafetensorsFile::open(dir.path() / kWeightsFile);
    CHECK(file.find("model.layers.0.mlp.down_proj.weight")->shape == FileShape{16, 24});
    const auto back = load_model(dir.path());
    CHECK(dynamic_cast<const Llama&>(*back).config() == model->config());
    CHECK(test::same_bits(*back, *model));
    CHECK(logits_of(*back, some_ids(12)) == logits_of(*model, some_ids(12)));
    const Json json = read_config_json(dir.path());
    CHECK(json.at("model_type", "").as_string("") == "llama");
    CHECK(json.at("num_key_value_heads", "").as_int("") == 2);
    CHECK(json.at("intermediate_size", "").as_int("") == 24);
    CHECK(json.at("rope_theta", "").as_number("") == 50);
  }
}

TEST_CASE("a Llama's file may lack the prefix and hold the angles' speeds") {
  const TemporaryDirectory dir;
  const auto model = lively();
  save_model(*model, dir.path());
  std::vector<test::Held> tensors = test::held(dir.path() / kWeightsFile);
  for (test::Held& t : tensors)
    if (t.name.starts_with("model.")) t.name = t.name.substr(6);
  tensors.push_back({"layers.0.self_attn.rotary_emb.inv_freq", {2}, {1, 2}});
  test::write(dir.path() / kWeightsFile, tensors);
  CHECK(test::same_bits(*load_model(dir.path()), *model));
  tensors.back().name = "layers.0.self_attn.q_norm.weight";
  test::write(dir.path() / kWeightsFile, tensors);
  CHECK(test::error_of([&] { load_model(dir.path()); }).field ==
        "layers.0.self_attn.q_norm.weight");
}

TEST_CASE("a Llama's config is read, or refused by its key") {
  const Json good = Llama(tiny(), Model::Values::shapes_only).config_json();
  CHECK(parse_llama_config(good, "c.json") == tiny());
  const auto with = [&](const char* key, Json value) {
    Json json = good;
    json.set(key, std::move(value));
    return json;
  };
  const auto parsed = [&](const char* key, Json value) {
    return parse_llama_config(with(key, std::move(value)), "c.json");
  };
  CHECK(parsed("num_key_value_heads", Json()).n_kv_head == 4);  // older files have no such key
  CHECK(parsed("head_dim", 4) == tiny());
  CHECK(parsed("head_dim", 8).head_dim == 8);
  const Llama wide(parsed("head_dim", 8));  // 4 heads of 8 read 16 channels
  CHECK(wide.params().find("model.layers.0.self_attn.o_proj.weight")->value.shape == Shape{16, 32});
  CHECK(parse_llama_config(wide.config_json(), "c.json") == wide.config());
  CHECK(parsed("tie_word_embeddings", Json()).tie_embeddings == false);
  CHECK(parsed("rope_parameters", Json::object().set("rope_theta", 9.0)).rope_theta == 9);
  // What says that nothing is scaled, hidden or left unturned; keys of SmolLM2 that tell nothing.
  for (
      const char* members :
      {R"("rope_scaling": {"rope_type": "default"})", R"("rope_scaling": {"type": "default"})",
       R"("rope_scaling": {"type": "linear", "factor": 1.0})",
       R"("rope_scaling": {"rope_type": "default", "factor": 8.0})",
       R"("rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0})",
       R"("rope_parameters": {"rope_type": "linear", "factor": 1, "rope_theta": null})",
       R"("partial_rotary_factor": 1.0)", R"("sliding_window": 4096)",
       R"("sliding_window": 2, "use_sliding_window": false)",
       R"("rope_interleaved": false, "pretraining_tp": 1, "use_cache": true, "pad_token_id": 2)"}) {
    CAPTURE(members);
    std::string text = good.dump();
    text.pop_back();
    constexpr std::string_view kNone = "\"rope_scaling\": null,";
    text.erase(text.find(kNone), kNone.size());
    CHECK(parse_llama_config(Json::parse(str(text, ", ", members, "}"), ""), "c.json") == tiny());
  }
  const std::vector<std::pair<const char*, Json>> bad{
      {"num_hidden_layers", 0},
      {"hidden_size", 1 << 30},
      {"intermediate_size", Json()},
      {"num_attention_heads", 3},
      {"num_attention_heads", 16},
      {"num_key_value_heads", 3},
      {"num_key_value_heads", 8},
      {"head_dim", 3},
      {"head_dim", 0},
      {"hidden_act", "gelu"},
      {"attention_bias", true},
      {"mlp_bias", true},
      {"rope_scaling", Json::object().set("factor", 2.0)},
      {"rope_scaling", Json::object().set("type", "linear").set("factor", 2.0)},
      {"rope_scaling", Json::object().set("type", "linear")},
      {"rope_interleaved", true},
      {"partial_rotary_factor", 0.5},
      {"sliding_window", 2},
      {"rope_theta", 0},
      {"rms_norm_eps", -1e-5}};
  for (const auto& pair : bad) {
    const char* key = pair.first;
    CAPTURE(key);
    const ErrorParts e = test::error_of([&] { parsed(key, pair.second); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where.starts_with("c.json"));
    CHECK((e.field == key || e.where.ends_with(key)));
  }
  // transformers 5 keeps all of it in one object, of models of several kinds of layers in one for each.
  for (const auto& [member, value] : std::vector<std::pair<const char*, Json>>{
           {"rope_type", "yarn"},
           {"partial_rotary_factor", 0.5},
           {"full_attention", Json::object().set("rope_theta", 1e6)},
           {"mrope_section", Json(Json::Array{1, 1})}}) {
    CAPTURE(member);
    const ErrorParts e = test::error_of(
        [&, m = member, v = value] { parsed("rope_parameters", Json::object().set(m, v)); });
    CHECK(e.fault == Fault::input);
    CHECK(e.field == str("rope_parameters.", member));
  }
  CHECK(test::error_of([&] {
          parsed("rope_parameters", Json::object().set("type", "linear").set("factor", 4.0));
        }).field == "rope_parameters.rope_type");
  CHECK(test::error_of([&] {
          parsed("rope_scaling",
                 Json::object().set("type", "default").set("partial_rotary_factor", 0.25));
        }).field == "rope_scaling.partial_rotary_factor");
  const ErrorParts untyped =
      test::error_of([&] { parsed("rope_scaling", Json::object().set("factor", 2.0)); });
  for (const char* spelling : {"\"rope_type\"", "\"type\""})
    CHECK(untyped.expected.find(spelling) != std::string::npos);
  for (const char* type : {"llama3", "default", "linear"}) {
    CAPTURE(type);
    Json of_object = Json::object();
    of_object.set("type", type).set("factor", Json::object().set("full_attention", 8.0));
    const ErrorParts e = test::error_of([&] { parsed("rope_scaling", of_object); });
    CHECK(e.where == "c.json: rope_scaling.factor");
    CHECK(e.what == "wrong JSON type");
    CHECK(e.expected == "a number");
  }
}

TEST_CASE("scaled positions of a Llama's config.json") {
  const auto llama3 = [](const char* key, Json value) {
    Json json = Json::object();
    json.set("rope_type", "llama3")
        .set("factor", 4.0)
        .set("low_freq_factor", 1.0)
        .set("high_freq_factor", 4.0)
        .set("original_max_position_embeddings", 16);
    return key ? std::move(json.set(key, std::move(value))) : std::move(json);
  };
  const Json plain = Llama(tiny(), Model::Values::shapes_only).config_json();
  const auto parsed = [&](const char* where, Json scaling) {
    Json json = plain;
    json.set(where, std::move(scaling));
    return parse_llama_config(json, "c.json");
  };
  LlamaConfig scaled = tiny();
  scaled.rope_scaling = {.factor = 4, .original_context = 16};
  CHECK(parsed("rope_scaling", llama3(nullptr, {})) == scaled);
  CHECK(parsed("rope_parameters", llama3("rope_theta", 50.0)) == scaled);
  CHECK(parsed("rope_scaling", llama3("rope_type", Json()).set("type", "llama3")) == scaled);
  CHECK(parse_llama_config(Llama(scaled).config_json(), "c.json") == scaled);
  CHECK(lively(scaled)->twin()->config_json().dump() == Llama(scaled).config_json().dump());
  Json both = plain;  // of which transformers takes the first, whole
  both.set("rope_scaling", llama3(nullptr, {})).set("rope_parameters", Json::object());
  CHECK(test::error_of([&] { parse_llama_config(both, "c.json"); }).field == "rope_parameters");
  const auto ids = some_ids(12);
  CHECK(logits_of(*lively(scaled), ids) != logits_of(*lively(), ids));
  for (const auto& [member, value] :
       std::vector<std::pair<const char*, Json>>{{"factor", 0.5},
                                                 {"factor", Json()},
                                                 {"low_freq_factor", 4.0},
                                                 {"low_freq_factor", Json()},
                                                 {"high_freq_factor", -1.0},
                                                 {"original_max_position_embeddings", 0},
                                                 {"original_max_position_embeddings", Json()},
                                                 {"beta_fest", 1.0}}) {
    CAPTURE(member);
    const ErrorParts e =
        test::error_of([&, m = member, v = value] { parsed("rope_scaling", llama3(m, v)); });
    CHECK(e.fault == Fault::input);
    CHECK(str(e.where, e.field).ends_with(str("rope_scaling.", member)));
  }
}

TEST_CASE("a Llama of other sizes keeps the scaling of its positions") {
  LlamaConfig config = tiny();
  config.rope_scaling = {
      .factor = 4, .low_freq_factor = 0.5, .high_freq_factor = 3, .original_context = 20};
  const auto model = lively(config);
  const auto kept = [&](const Model& other) {
    return dynamic_cast<const Llama&>(other).config().rope_scaling == config.rope_scaling;
  };
  CHECK(kept(*with_heads(*model, 1, Model::Values::shapes_only)));
  CHECK(kept(*with_ranks(*model, std::vector<std::int64_t>(2 * 4, 3), Model::Values::shapes_only)));
  const auto shorter = shortened(lively(config), 8);
  REQUIRE(shorter->sizes().block_size == 8);
  CHECK(kept(*shorter));
  CHECK(logits_of(*shorter, some_ids(8)) == logits_of(*model, some_ids(8)));
}

TEST_CASE("a Llama starts from transformers' initialization") {
  Llama model({.vocab_size = 100, .block_size = 8, .n_embd = 64, .n_inner = 192});
  model.init(1);
  for (const Param& p : model.params().params()) {
    CAPTURE(p.name);
    if (p.value.shape.rank() == 1) {
      CHECK(std::ranges::all_of(p.value.flat(), [](real v) { return v == 1; }));
      continue;
    }
    double squares = 0;
    for (const real v : p.value.flat()) squares += static_cast<double>(v) * static_cast<double>(v);
    CHECK(std::sqrt(squares / static_cast<double>(p.value.size())) == Approx(0.02).epsilon(0.05));
  }
}

}  // namespace notch::nn::llama_test
