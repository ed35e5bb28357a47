// What other programs need of a model, from directory to directory and through GGUF: token ids, the chat
// template, files beside the tokenizer.
#include "nn/gguf.h"
#include "tests/experiments/program.h"

namespace companions_cli_test {

using namespace notch;
using namespace notch::test;

constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}";
constexpr const char* kGeneration = "{\"eos_token_id\": [5,9],  \"temperature\": 0.6}\r\n";
constexpr const char* kFiles[] = {"generation_config.json", "special_tokens_map.json",
                                  "chat_template.jinja", "chat_template.json"};

Json json_of(const fs::path& file) { return Json::parse(read_file(file), file.string()); }

/// A small Llama as transformers would have saved it: two ends of text, and a template.
std::string chat_model(const Program& program) {
  const Outcome trained = program.notch(
      "train tiny.toml -q --out m model.n_embd=32 model.architecture=llama model.n_kv_head=1");
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  const std::string model = "m/models/fp32-seed1337";
  const fs::path dir = program / model;
  Json config = json_of(dir / "config.json");
  config.set("bos_token_id", 2).set("eos_token_id", Json(Json::Array{Json(5), Json(9)}));
  write_file(dir / "config.json", config.dump());
  Json tokenizer = json_of(dir / "tokenizer_config.json");
  tokenizer.set("chat_template", kTemplate).set("model_max_length", 8);
  write_file(dir / "tokenizer_config.json", tokenizer.dump());
  write_file(dir / "generation_config.json", kGeneration);
  fs::remove(dir / "manifest.json");
  return model;
}

void check_carried(const fs::path& dir) {
  CAPTURE(dir);
  const Json config = json_of(dir / "config.json");
  CHECK(config.at("bos_token_id", "t").dump() == "2");
  CHECK(config.at("eos_token_id", "t").dump() == "[5, 9]");
  const Json tokenizer = json_of(dir / "tokenizer_config.json");
  CHECK(tokenizer.at("chat_template", "t").as_string("t") == kTemplate);
  CHECK(tokenizer.at("model_max_length", "t").dump() == "8");
  CHECK(read_file(dir / "generation_config.json") == kGeneration);
}

TEST_CASE("what other programs need goes from directory to directory") {
  const Program program;
  const std::string model = chat_model(program);
  for (const std::string& command :
       {"quantize " + model + " --method rtn --bits 8 --embedding fp32 -q --out made",
        "export " + model + " --format f16 -q --out made",
        "narrow " + model + " --inner 32 --text text.txt -q --out made"}) {
    const Outcome outcome = program.notch(command);
    INFO(command << ": " << outcome.err);
    REQUIRE(outcome.code == 0);
    check_carried(program / "made");
    fs::remove_all(program / "made");
  }
  REQUIRE(program
              .notch("quantize " + model +
                     " --method rtn --bits 4 --embedding fp32 "
                     "--scale f16 -q --out q")
              .code == 0);
  for (const char* format : {"coded", "packed", "gptq", "f32"}) {
    CAPTURE(format);
    REQUIRE(program.notch(str("export q -q --format ", format, " --out ", format)).code == 0);
    check_carried(program / format);
  }
  REQUIRE(program.notch(str("run tiny.toml -q --out n model.from=", model)).code == 0);
  for (const auto& entry : fs::directory_iterator(program / "n/models"))
    check_carried(entry.path());

  // They are of what is compared with the manifest.
  CHECK(program.notch("verify q").code == 0);
  std::string flipped = kGeneration;
  flipped[20] = static_cast<char>(flipped[20] ^ 1);
  write_file(program / "q/generation_config.json", flipped);
  const Outcome damaged = program.notch("verify q");
  CHECK(damaged.code == 6);
  CHECK((damaged.out + damaged.err).find("generation_config.json") != std::string::npos);
}

TEST_CASE("what other programs need goes to GGUF and back") {
  const Program program;
  const std::string model = chat_model(program);
  REQUIRE(program.notch("export " + model + " -q --gguf m.gguf").code == 0);
  const nn::GgufFile file = nn::GgufFile::open(program / "m.gguf");
  const auto number = [&](const char* key) {
    const nn::GgufValue* value = file.find(key);
    REQUIRE(value);
    return std::get<std::uint32_t>(*value);
  };
  CHECK(number("tokenizer.ggml.bos_token_id") == 2);
  CHECK(number("tokenizer.ggml.eos_token_id") == 5);  // a GGUF file has one
  REQUIRE(file.find("tokenizer.chat_template"));
  CHECK(std::get<std::string>(*file.find("tokenizer.chat_template")) == kTemplate);
  REQUIRE(program.notch("export m.gguf -q --format f32 --out back").code == 0);
  CHECK(json_of(program / "back/config.json").at("bos_token_id", "t").dump() == "2");
  CHECK(json_of(program / "back/config.json").at("eos_token_id", "t").dump() == "5");
  const Json tokenizer = json_of(program / "back/tokenizer_config.json");
  CHECK(tokenizer.at("chat_template", "t").as_string("t") == kTemplate);
  // Tokens 2 and 5 are letters: a tokenizer that names them as special takes them out of texts.
  CHECK(tokenizer.find("bos_token") == nullptr);
  CHECK(tokenizer.find("eos_token") == nullptr);
}

TEST_CASE("of a model that nobody has named tokens of none is named") {
  const Program program;
  const std::string model = program.train();
  REQUIRE(program.notch("quantize " + model + " --method rtn --bits 8 -q --out q").code == 0);
  REQUIRE(program.notch("export q -q --format f32 --out f").code == 0);
  REQUIRE(program.notch("export " + model + " -q --gguf m.gguf").code == 0);
  REQUIRE(program.notch("export m.gguf -q --format f32 --out back").code == 0);
  const nn::GgufFile file = nn::GgufFile::open(program / "m.gguf");
  for (const char* key :
       {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.chat_template"}) {
    CAPTURE(key);
    CHECK(file.find(key) == nullptr);
  }
  for (const std::string& name : {model, std::string("q"), std::string("f"), std::string("back")}) {
    CAPTURE(name);
    const Json config = json_of(program / name / "config.json");
    CHECK(config.at("bos_token_id", "t").is_null());
    CHECK(config.at("eos_token_id", "t").is_null());
    for (const char* beside : kFiles) CHECK_FALSE(fs::exists(program / name / beside));
    CHECK(json_of(program / name / "tokenizer_config.json").as_object("t").size() == 2);
  }
}

TEST_CASE("a token id outside the vocabulary is refused by its file") {
  const Program program;
  const std::string model = chat_model(program);
  const fs::path file = program / model / "config.json";
  Json config = json_of(file);
  config.set("eos_token_id", Json(Json::Array{Json(5), Json(128009)}));
  write_file(file, config.dump());
  const Outcome outcome = program.notch("quantize " + model + " --method rtn --bits 8 --out q");
  CHECK(outcome.code == 3);
  for (const char* part : {"config.json", "eos_token_id", "128009", "0 to "})
    CHECK(outcome.err.find(part) != std::string::npos);
  CHECK_FALSE(fs::exists(program / "q"));
}

TEST_CASE("a GGUF export that is refused leaves nothing") {
  const Program program;
  const std::string model = chat_model(program);
  const fs::path file = program / model / "config.json";
  const Json good = json_of(file);
  const std::vector<std::string> before = program.entries();
  const auto refused = [&](const char* part) {
    const Outcome outcome = program.notch("export " + model + " --gguf m.gguf");
    INFO(outcome.err);
    CHECK(outcome.code == 3);
    CHECK(outcome.err.find(part) != std::string::npos);
    CHECK(program.entries() == before);
  };
  Json config = good;
  config.set("rope_theta", 1e39);  // above the largest float
  write_file(file, config.dump());
  refused("llama.rope.freq_base");
  write_file(file, good.dump());
  // Not UTF-8, of which a GGUF file's text is: found when the template is to be written.
  write_file(program / model / "generation_config.json", kGeneration);
  const fs::path jinja = program / model / "chat_template.jinja";
  write_file(jinja, "{{ \xFF }}");
  const Outcome outcome = program.notch("export " + model + " --gguf m.gguf");
  CHECK(outcome.code == 3);
  CHECK(outcome.err.find("tokenizer.chat_template") != std::string::npos);
  CHECK_FALSE(fs::exists(program / "m.gguf"));
}

}  // namespace companions_cli_test
