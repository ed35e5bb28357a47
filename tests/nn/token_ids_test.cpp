// bos_token_id and eos_token_id of config.json: read, checked, and written back.
#include <algorithm>
#include <string>

#include "nn/gpt.h"
#include "nn/heads.h"
#include "nn/llama.h"
#include "nn/model_dir.h"
#include "nn/resized.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace token_ids_test {

using namespace notch;
using namespace notch::nn;
using notch::test::error_of;
using notch::test::TemporaryDirectory;

constexpr std::int64_t kVocabulary = 11;

std::unique_ptr<Model> tiny(bool llama, const TokenIds& ids) {
  std::unique_ptr<Model> model;
  if (llama) {
    model = std::make_unique<Llama>(LlamaConfig{.vocab_size = kVocabulary,
                                                .block_size = 8,
                                                .n_layer = 1,
                                                .n_head = 2,
                                                .n_kv_head = 2,
                                                .n_embd = 8,
                                                .n_inner = 8,
                                                .token_ids = ids});
  } else {
    model = std::make_unique<Gpt>(GptConfig{.vocab_size = kVocabulary,
                                            .block_size = 8,
                                            .n_layer = 1,
                                            .n_head = 2,
                                            .n_embd = 8,
                                            .token_ids = ids});
  }
  model->init(1);
  return model;
}

/// The model of a config.json with these two members.
std::unique_ptr<Model> with(bool llama, const char* bos, const char* eos) {
  Json config = tiny(llama, {})->config_json();
  config.set("bos_token_id", Json::parse(bos, "bos")).set("eos_token_id", Json::parse(eos, "eos"));
  return make_model(config, "d", Model::Values::shapes_only);
}

TEST_CASE("token ids come back from a directory") {
  for (const bool llama : {false, true}) {
    for (const TokenIds& ids :
         {TokenIds{}, TokenIds{.bos = 0}, TokenIds{.eos = {10}}, TokenIds{.bos = 8, .eos = {9, 10}},
          TokenIds{.bos = 10, .eos = {10, 3, 0}}}) {
      const TemporaryDirectory dir;
      save_model(*tiny(llama, ids), dir.path());
      const auto back = load_model(dir.path());
      CHECK(back->token_ids() == ids);
      CHECK(clone(*back)->token_ids() == ids);
      CHECK(shortened(load_model(dir.path()), 4)->token_ids() == ids);
      CHECK(with_heads(*back, 1, Model::Values::shapes_only)->token_ids() == ids);
    }
  }
}

TEST_CASE("config.json has token ids as transformers writes them") {
  for (const bool llama : {false, true}) {
    const auto member = [&](const TokenIds& ids, const char* key) {
      return tiny(llama, ids)->config_json().at(key, "t").dump();
    };
    CHECK(member({}, "bos_token_id") == "null");
    CHECK(member({}, "eos_token_id") == "null");
    CHECK(member({.bos = 4}, "bos_token_id") == "4");
    CHECK(member({.eos = {9}}, "eos_token_id") == "9");
    CHECK(member({.eos = {9, 10}}, "eos_token_id") == "[9, 10]");
    CHECK(with(llama, "null", "[7]")->token_ids() == TokenIds{.eos = {7}});
    CHECK(with(llama, "null", "[]")->token_ids() == TokenIds{});
  }
}

TEST_CASE("token ids outside the vocabulary are refused") {
  for (const bool llama : {false, true}) {
    CHECK(with(llama, "10", "[10, 0]")->token_ids() == TokenIds{.bos = 10, .eos = {10, 0}});
    for (const char* id : {"11", "-1", "128001", "4294967296"}) {
      ErrorParts e = error_of([&] { with(llama, id, "1"); });
      CHECK(e.fault == Fault::input);
      CHECK(e.where == "d/config.json");
      CHECK(e.field == "bos_token_id");
      CHECK(e.found == id);
      CHECK(e.expected == "0 to 10");
      e = error_of([&] { with(llama, "1", str("[1, ", id, "]").c_str()); });
      CHECK(e.field == "eos_token_id");
      CHECK(e.found == id);
    }
    for (const char* none : {"\"</s>\"", "1.5", "true", "[1]", "{}"})
      CHECK(error_of([&] { with(llama, none, "1"); }).fault == Fault::input);
    CHECK(error_of([&] { with(llama, "1", "[[1]]"); }).fault == Fault::input);
  }
}

TEST_CASE("GPT-2's own ids in a smaller vocabulary are none") {
  // transformers' GPT2Config(vocab_size=11).save_pretrained writes its defaults.
  CHECK(with(false, "50256", "50256")->token_ids() == TokenIds{});
  CHECK(with(false, "3", "[50256, 4]")->token_ids() == TokenIds{.bos = 3, .eos = {4}});
  CHECK(error_of([] { with(false, "50257", "1"); }).field == "bos_token_id");
  CHECK(error_of([] { with(true, "50256", "1"); }).field == "bos_token_id");
  Json published = tiny(false, {})->config_json();
  published.set("vocab_size", 50257).set("bos_token_id", 50256).set("eos_token_id", 50256);
  CHECK(make_model(published, "d", Model::Values::shapes_only)->token_ids() ==
        TokenIds{.bos = 50256, .eos = {50256}});
}

}  // namespace token_ids_test
