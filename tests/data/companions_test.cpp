// Files beside a tokenizer: carried as they are, and the chat template among them.
#include "data/companions.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace companions_test {

using namespace notch;
using namespace notch::data;
using notch::test::error_of;
using notch::test::TemporaryDirectory;

constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}";

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

TEST_CASE("files beside a tokenizer go where it is saved") {
  const TemporaryDirectory from, to, again;
  Tokenizer::characters("abc").save(from.path());
  // Bytes that a writer of JSON would not make: spaces, another order, no end of line.
  const std::vector<std::pair<std::string, std::string>> files{
      {"generation_config.json",
       "{ \"eos_token_id\":[ 128001,128009 ],\r\n\t\"do_sample\" : true}"},
      {"special_tokens_map.json", "{}"},
      {"chat_template.jinja", "\xEF\xBB\xBF{{ x }}\n\n"},
      {"chat_template.json", "{\"chat_template\": \"y\"}  "}};
  for (const auto& [name, bytes] : files) write_file(from / name, bytes);
  write_file(from / "pytorch_model.bin.index.json", "{}");
  Tokenizer::load(from.path()).save(to.path());
  Tokenizer(Tokenizer::load(to.path())).save(again.path());
  for (const auto& [name, bytes] : files) {
    CAPTURE(name);
    CHECK(read_file(to / name) == bytes);
    CHECK(read_file(again / name) == bytes);
  }
  CHECK_FALSE(fs::exists(to / "pytorch_model.bin.index.json"));
}

TEST_CASE("a tokenizer without files beside it gets none") {
  const TemporaryDirectory from, to;
  const Tokenizer made = Tokenizer::train("low low low lower", 300);
  made.save(from.path());
  CHECK(names_in(from.path()) == std::vector<std::string>{"merges.txt", "tokenizer.json",
                                                          "tokenizer_config.json", "vocab.json"});
  const Tokenizer loaded = Tokenizer::load(from.path());
  loaded.save(to.path());
  CHECK(names_in(to.path()) == names_in(from.path()));
  for (const std::string& name : names_in(from.path()))
    CHECK(read_file(to / name) == read_file(from / name));
  CHECK(chat_template(loaded.vocabulary().companions).empty());
  // Read or made, it is the same tokenizer: what lies beside it changes no token.
  write_file(from / "chat_template.jinja", kTemplate);
  CHECK(Tokenizer::load(from.path()).definition_hash() == made.definition_hash());
}

TEST_CASE("what tokenizer_config.json said is kept") {
  const TemporaryDirectory from, to;
  Tokenizer::characters("abc").save(from.path());
  Json said = Json::object();
  said.set("tokenizer_class", "LlamaTokenizer")
      .set("chat_template", kTemplate)
      .set("bos_token", Json::object().set("content", "<s>").set("lstrip", false))
      .set("eos_token", "</s>")
      .set("model_max_length", 2048);
  write_file(from / "tokenizer_config.json", said.dump(2));
  Tokenizer::load(from.path()).save(to.path());
  const Json kept = Json::parse(read_file(to / "tokenizer_config.json"), "t");
  for (const auto& [key, value] : said.as_object("t")) {
    CAPTURE(key);
    CHECK(kept.at(key, "t").dump() == value.dump());
  }
  // Of its own there is what was not said: without it decode("a .") is "a.".
  CHECK(kept.as_object("t").size() == said.as_object("t").size() + 1);
  CHECK(kept.at("clean_up_tokenization_spaces", "t").dump() == "false");
  CHECK(chat_template(Tokenizer::load(to.path()).vocabulary().companions) == kTemplate);
}

TEST_CASE("numbers of tokenizer_config.json keep their digits") {
  const TemporaryDirectory from, to, again;
  Tokenizer::characters("abc").save(from.path());
  const std::string members =
      R"("model_max_length": 1000000000000000000000000000000, "y": Infinity)";
  write_file(from / "tokenizer_config.json", " { " + members + "}\n");
  Tokenizer::load(from.path()).save(to.path());
  const std::string written = read_file(to / "tokenizer_config.json");
  CHECK(
      written ==
      R"( {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,  )" +
          members + "}\n");
  Tokenizer::load(to.path()).save(again.path());
  CHECK(read_file(again / "tokenizer_config.json") == written);
  write_file(from / "tokenizer_config.json", "{}");
  Tokenizer::load(from.path()).save(to.path());
  CHECK(read_file(to / "tokenizer_config.json") ==
        R"({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false})");
}

TEST_CASE("of several chat templates the one of transformers is taken") {
  Companions c;
  CHECK(chat_template(c).empty());
  c.files["chat_template.json"] = R"({"chat_template": "older"})";
  CHECK(chat_template(c) == "older");
  c.tokenizer_config = R"({"chat_template": null})";
  CHECK(chat_template(c) == "older");
  c.tokenizer_config = R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                                             {"name": "default", "template": "usual"}]})";
  CHECK(chat_template(c) == "usual");
  c.tokenizer_config = R"({"chat_template": "one"})";
  CHECK(chat_template(c) == "one");
  c.files["chat_template.jinja"] = "file";
  CHECK(chat_template(c) == "file");

  const auto refused = [](const char* config) {
    return error_of([&] { chat_template({.tokenizer_config = config}); });
  };
  for (const char* config : {R"({"chat_template": 1})", R"({"chat_template": ["a"]})",
                             R"({"chat_template": [{"name": "default"}]})"}) {
    CAPTURE(config);
    CHECK(refused(config).fault == Fault::input);
    CHECK(refused(config).where.find("tokenizer_config.json") != std::string::npos);
  }
  const Companions broken{.files = {{"chat_template.json", "[]"}}};
  CHECK(error_of([&] { chat_template(broken); }).fault == Fault::input);
}

TEST_CASE("files beside a tokenizer are read within bounds") {
  const TemporaryDirectory d;
  Tokenizer::characters("abc").save(d.path());
  for (const char* name : {"generation_config.json", "special_tokens_map.json",
                           "chat_template.jinja", "chat_template.json"}) {
    CAPTURE(name);
    const fs::path path = d / name;
    write_file(path, "{}");
    fs::resize_file(path, kMaxCompanionBytes);
    CHECK_NOTHROW(Tokenizer::load(d.path()));
    fs::resize_file(path, kMaxCompanionBytes + 1);
    const ErrorParts e = error_of([&] { Tokenizer::load(d.path()); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where.find(name) != std::string::npos);
    fs::remove(path);
    fs::create_directory(path);
    CHECK(error_of([&] { Tokenizer::load(d.path()); }).fault == Fault::io);
    fs::remove(path);
    fs::create_symlink("nowhere", path);
    CHECK(error_of([&] { Tokenizer::load(d.path()); }).fault == Fault::io);
    fs::remove(path);
  }
}

TEST_CASE("saving does not write through a link beside it") {
  const TemporaryDirectory from, to, other;
  Tokenizer::characters("abc").save(from.path());
  write_file(from / "chat_template.jinja", kTemplate);
  write_file(other / "mine", "mine");
  fs::create_symlink(other / "mine", to / "chat_template.jinja");
  Tokenizer::load(from.path()).save(to.path());
  CHECK(read_file(other / "mine") == "mine");
  CHECK(read_file(to / "chat_template.jinja") == kTemplate);
  CHECK_FALSE(fs::is_symlink(to / "chat_template.jinja"));
}

}  // namespace companions_test
