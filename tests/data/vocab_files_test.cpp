#include "data/vocab_files.h"

#include <functional>

#include "data/tokenizer.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace vocab_files_test {

using namespace notch;
using namespace notch::data;

void write(const fs::path& directory, std::string_view vocab, std::string_view merges) {
  write_file(directory / "vocab.json", vocab);
  write_file(directory / "merges.txt", merges);
}

ErrorParts load_error(std::string_view vocab, std::string_view merges) {
  test::TemporaryDirectory d;
  write(d.path(), vocab, merges);
  return test::error_of([&] { Tokenizer::load(d.path()); });
}

constexpr const char* kNoMerges = "#version: 0.2\n";

TEST_CASE("the byte alphabet is GPT-2's") {
  // bytes_to_unicode: 33..126, 161..172, 174..255 stay; the others are U+0100 + n in ascending
  // order.
  CHECK(spell("!~") == "!~");
  CHECK(spell(std::string(1, '\0')) == "\xC4\x80");  // U+0100
  CHECK(spell("\n") == "\xC4\x8A");                  // U+010A
  CHECK(spell(" the") == "\xC4\xA0the");             // U+0120
  CHECK(spell("\x7F") == "\xC4\xA1");                // U+0121: the 34th
  CHECK(spell("\xA0") == "\xC5\x82");                // U+0142
  CHECK(spell("\xA1") == "\xC2\xA1");                // itself
  CHECK(spell("\xAD") == "\xC5\x83");                // U+0143: the last
  CHECK(spell("\xC3\xA9") == "\xC3\x83\xC2\xA9");    // e acute: two bytes, two letters
}

TEST_CASE("the files have GPT-2's layout") {
  test::TemporaryDirectory d;
  Tokenizer::train("low low low lower", 300).save(d.path());
  CHECK(read_file(d.path() / "merges.txt") == "#version: 0.2\nl o\nlo w\n\xC4\xA0 low\n");
  const std::string vocab = read_file(d.path() / "vocab.json");
  CHECK(vocab.find("\"\xC4\xA0low\": 258") != std::string::npos);
  CHECK(vocab.find("\"\\\"\": 34") != std::string::npos);
  Tokenizer::characters("ab").save(d.path());
  CHECK(read_file(d.path() / "merges.txt") == kNoMerges);
}

TEST_CASE("GPT-2's layout is read: bytes, escapes and the end of text") {
  // As in the published files: ids follow the alphabet ('!' is 0), non-ASCII is escaped, and the
  // special token comes after the merges.
  std::vector<int> order;
  for (int b = 0; b < 256; ++b) {
    if ((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) order.push_back(b);
  }
  for (int b = 0; b < 256; ++b) {
    if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174)) order.push_back(b);
  }
  Vocabulary v;
  for (const int b : order) v.tokens.push_back(std::string(1, static_cast<char>(b)));
  v.tokens.insert(v.tokens.end(), {" t", " th", std::string(kEndOfText)});
  std::string vocab = vocab_json(v);
  for (std::size_t at; (at = vocab.find("\xC4\xA0")) != std::string::npos;) {
    vocab.replace(at, 2, "\\u0120");
  }
  test::TemporaryDirectory d;
  write(d.path(), vocab, "#version: 0.2\n\xC4\xA0 t\n\xC4\xA0t h\n");
  const Tokenizer t = Tokenizer::load(d.path());
  CHECK(t.kind() == TokenizerKind::bpe);
  CHECK(t.vocab_size() == 259);
  CHECK(t.end_of_text() == 258);
  CHECK(t.encode("! the") == std::vector<std::int32_t>{0, 257, 'e' - 33});
  const std::string special = "a<|endoftext|>b";
  CHECK(t.encode(special) == std::vector<std::int32_t>{'a' - 33, 258, 'b' - 33});
  CHECK(t.decode(t.encode(special)) == special);
  const std::vector<std::int32_t> end = {258};
  CHECK(t.decode(end) == kEndOfText);
}

TEST_CASE("the version line may be absent and only the first line is it") {
  test::TemporaryDirectory d;
  write(d.path(), R"({"a": 0, "b": 1, "ab": 2})", "a b\n");
  CHECK(Tokenizer::load(d.path()).encode("abb") == std::vector<std::int32_t>{2, 1});
  const ErrorParts e = load_error(R"({"a": 0, "b": 1, "ab": 2})", "a b\n#version: 0.2\n");
  CHECK(e.fault == Fault::input);
}

TEST_CASE("a broken vocab.json is refused with the token that is wrong") {
  const struct {
    const char* vocab;
    const char* field;
    const char* found;
  } cases[] = {
      {R"({"a": 0, "b": 0})", "b", "0"},
      {R"({"a": 0, "b": 2})", "b", "2"},
      {R"({"a": 0, "b": -1})", "b", "-1"},
      {R"({"a": 0, "b": 99999999999})", "b", "99999999999"},
      {"{}", "", "0"},
      {R"({"": 0})", "", "an empty token"},
      {R"({"a": 0, "b c": 1})", "b c", "a character outside the alphabet"},
      {"{\"a\": 0, \"\xE2\x82\xAC\": 1}", "\xE2\x82\xAC", "a character outside the alphabet"},
      {R"({"a": 0, "ab": 1})", "ab", "id 1"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.vocab);
    const ErrorParts e = load_error(c.vocab, kNoMerges);
    CHECK(e.fault == Fault::input);
    CHECK(e.where.find("vocab.json") != std::string::npos);
    CHECK(e.field == c.field);
    CHECK(e.found == c.found);
  }
}

TEST_CASE("text that is not the JSON of a vocabulary is refused") {
  for (const char* vocab : {"", "{", "[]", "3", R"({"a": "0"})", R"({"a": 0.5})",
                            R"({"a": 0, "a": 1})", R"({"a": 0} x)", R"({"\ud800": 0})"}) {
    CAPTURE(vocab);
    CHECK(load_error(vocab, kNoMerges).fault == Fault::input);
  }
}

TEST_CASE("a broken merges.txt is refused with its line") {
  const std::string vocab = R"({"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4})";
  const struct {
    const char* merges;
    const char* line;
  } cases[] = {
      {"#version: 0.2\na b\nab d\n", "3"},       // names an unknown token
      {"#version: 0.2\na b\nab c\nb c\n", "4"},  // makes an unknown token
      {"#version: 0.2\nab c\na b\n", "2"},       // uses a token before it is made
      {"#version: 0.2\na b\na b\nab c\n", "3"},  // the same one twice
      {"#version: 0.2\nab\n", "2"},
      {"#version: 0.2\na b c\n", "2"},
      {"#version: 0.2\na  b\n", "2"},
      {"#version: 0.2\n a\n", "2"},
      {"#version: 0.2\na b\n\nab c\n", "3"},
      {"#version: 0.2\na b\n\r\n", "3"},
      {"#version: 0.2\na \r\n", "2"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.merges);
    const ErrorParts e = load_error(vocab, c.merges);
    CHECK(e.fault == Fault::input);
    CHECK(e.where.find(std::string("merges.txt:") + c.line) != std::string::npos);
  }
}

TEST_CASE("special tokens anywhere in a vocabulary are one token each") {
  struct Case {
    const char* vocab;
    const char* merges;
    TokenizerKind kind;
    std::vector<std::int32_t> expected;  // of kText
  };
  const std::string text = "ab<pad>a<|im_start|>b[SEP]";
  const Case cases[] = {{R"({"<pad>": 0, "a": 1, "<|im_start|>": 2, "b": 3, "ab": 4, "[SEP]": 5})",
                         "a b\n",
                         TokenizerKind::bpe,
                         {4, 0, 1, 2, 3, 5}},
                        {R"({"a": 0, "b": 1, "ab": 2, "<pad>": 3, "<|im_start|>": 4, "[SEP]": 5})",
                         "a b\n",
                         TokenizerKind::bpe,
                         {2, 3, 0, 4, 1, 5}},
                        {R"({"[SEP]": 0, "<pad>": 1, "<|im_start|>": 2, "a": 3, "b": 4})",
                         kNoMerges,
                         TokenizerKind::character,
                         {3, 4, 1, 3, 2, 4, 0}}};
  for (const Case& c : cases) {
    CAPTURE(c.vocab);
    test::TemporaryDirectory d, again;
    write(d.path(), c.vocab, c.merges);
    const Tokenizer t = Tokenizer::load(d.path());
    CHECK(t.kind() == c.kind);
    CHECK(t.encode(text) == c.expected);
    CHECK(t.decode(c.expected) == text);
    CHECK(t.end_of_text() == -1);
    t.save(again.path());
    CHECK(Tokenizer::load(again.path()).definition_hash() == t.definition_hash());
    CHECK_FALSE(fs::exists(again / "added_tokens.json"));
  }
}

TEST_CASE("a special token outside the alphabet is its own spelling") {
  test::TemporaryDirectory d;
  // U+FF5C, as some chat models write; e acute stands for a byte elsewhere, and for itself here.
  const std::string begin =
                        "<\xEF\xBD\x9C"
                        "begin of text\xEF\xBD\x9C>",
                    acute = "<\xC3\xA9>";
  write(d.path(), str(R"({"a": 0, ")", begin, R"(": 1, ")", acute, R"(": 2})"), kNoMerges);
  const Tokenizer t = Tokenizer::load(d.path());
  CHECK(t.encode(acute + "a" + begin) == std::vector<std::int32_t>{2, 0, 1});
  CHECK(t.token(1) == begin);
  CHECK(t.token(2) == acute);
  test::TemporaryDirectory again;
  t.save(again.path());
  CHECK(Tokenizer::load(again.path()).vocabulary().tokens == t.vocabulary().tokens);
}

TEST_CASE("the longest special token wins, text between is its own") {
  test::TemporaryDirectory d;
  write(d.path(), R"({"<": 0, "a": 1, ">": 2, "<a>": 3, "<a><a>": 4, "<a": 5, "\u0120": 6})",
        "< a\n");
  const Tokenizer t = Tokenizer::load(d.path());
  CHECK(t.encode("<a><a><a>") == std::vector<std::int32_t>{4, 3});
  CHECK(t.encode("<a <a") ==
        std::vector<std::int32_t>{0, 1, 6, 0, 1});  // '<' and 'a' are two words
  CHECK(t.encode("a <a>") == std::vector<std::int32_t>{1, 6, 3});
}

TEST_CASE("a token in brackets that merges make is no special token") {
  test::TemporaryDirectory d;
  write(d.path(), R"({"[": 0, "]": 1, "[]": 2, "[]]": 3})", "[ ]\n[] ]\n");
  const Tokenizer t = Tokenizer::load(d.path());
  CHECK(t.vocabulary().added.empty());
  CHECK(t.encode("[[]]") == std::vector<std::int32_t>{0, 3});
}

TEST_CASE("added_tokens.json names special tokens of any look") {
  test::TemporaryDirectory d, again;
  write(d.path(), R"({"a": 0, "PAD": 1, "b": 2})", kNoMerges);
  CHECK(test::error_of([&] { Tokenizer::load(d.path()); }).hint.find("added_tokens.json") !=
        std::string::npos);
  write_file(d / "added_tokens.json", R"({"PAD": 1, "END OF": 3})");
  const Tokenizer t = Tokenizer::load(d.path());
  CHECK(t.encode("aPADbEND OF") == std::vector<std::int32_t>{0, 1, 2, 3});
  t.save(again.path());
  const Tokenizer back = Tokenizer::load(again.path());
  CHECK(back.definition_hash() == t.definition_hash());
  CHECK(back.encode("aPADbEND OF") == t.encode("aPADbEND OF"));
  for (const char* bad : {R"({"PAD": 2})", R"({"PAD": 1, "END": 4})", R"({"END": 0})", "["}) {
    CAPTURE(bad);
    write_file(d / "added_tokens.json", bad);
    CHECK(test::error_of([&] { Tokenizer::load(d.path()); }).fault == Fault::input);
  }
}

TEST_CASE("bytes in order make the byte tokenizer, also beside specials") {
  for (const bool front : {false, true}) {
    Vocabulary v;
    if (front) v.tokens.push_back("<s>");
    for (int b = 0; b < 256; ++b) v.tokens.push_back(std::string(1, static_cast<char>(b)));
    if (!front) v.tokens.push_back("<s>");
    v.added = {{.id = front ? 0 : 256}};
    test::TemporaryDirectory d;
    write(d.path(), vocab_json(v), merges_text(v));
    const Tokenizer t = Tokenizer::load(d.path());
    CHECK(t.kind() == TokenizerKind::byte_level);
    CHECK(t.encode("a<s>").back() == v.added[0].id);
  }
}

TEST_CASE("a tokenizer file that is a pointer or a page is named") {
  const ErrorParts e = load_error("version https://git-lfs.github.com/spec/v1\n", kNoMerges);
  CHECK(e.found.find("Git LFS") != std::string::npos);
  CHECK(load_error(R"({"a": 0})", "<!doctype html><html>").found == "a web page");
}

TEST_CASE("files that went through Windows are the same tokenizer") {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "END": 3})", mark = "\xEF\xBB\xBF";
  for (const char* merges :
       {"#version: 0.2\na b\n", "#version: 0.2\r\na b\r\n", "#version: 0.2\r\na b"}) {
    for (const bool marked : {false, true}) {
      CAPTURE(merges, marked);
      const std::string front = marked ? mark : "";
      test::TemporaryDirectory d;
      write(d.path(), front + vocab, front + merges);
      write_file(d / "added_tokens.json", front + R"({"END": 3})");
      CHECK(Tokenizer::load(d.path()).encode("abaEND") == std::vector<std::int32_t>{2, 0, 3});
    }
  }
}

TEST_CASE("a space that tokenizer_config.json puts before a text is refused") {
  test::TemporaryDirectory d;
  write(d.path(), R"({"a": 0})", kNoMerges);
  const auto with = [&](std::string_view config) {
    write_file(d / "tokenizer_config.json", config);
    return test::error_of([&] { Tokenizer::load(d.path()); });
  };
  for (const char* config : {R"({"add_prefix_space": true})", R"({"add_prefix_space": 1})", "[]"}) {
    CAPTURE(config);
    const ErrorParts e = with(config);
    CHECK(e.fault == Fault::input);
    CHECK(e.where.find("tokenizer_config.json") != std::string::npos);
  }
  CHECK(with(R"({"add_prefix_space": true})").field == "add_prefix_space");
  // transformers' model_max_length where there is none is 10^30, as an integer of a float.
  for (const char* config :
       {R"({"add_prefix_space": false, "model_max_length": 1000000000000000019884624838656})",
        R"({"add_prefix_space": null})", "{}"}) {
    CAPTURE(config);
    write_file(d / "tokenizer_config.json", config);
    CHECK(Tokenizer::load(d.path()).vocab_size() == 1);
  }
  // It goes before tokenizer.json's, too.
  Tokenizer::bytes().save(d.path());
  CHECK(Tokenizer::load(d.path()).vocab_size() == 256);
  CHECK(with(R"({"add_prefix_space": true})").field == "add_prefix_space");
}

TEST_CASE("a directory without a tokenizer says what there is") {
  const struct {
    std::vector<const char*> files;
    const char* field;
  } cases[] = {
      {{}, "tokenizer.json"},
      {{"config.json", "model.safetensors"}, "tokenizer.json"},
      {{"vocab.json"}, "merges.txt"},
      {{"merges.txt"}, "vocab.json"},
      {{"tokenizer.model", "tokenizer_config.json"}, "tokenizer.model"},
      {{"cl100k_base.tiktoken"}, "cl100k_base.tiktoken"},
      {{"encoder.json", "vocab.bpe"}, "encoder.json"},
      {{"vocab.txt"}, "vocab.txt"},
      {{"spiece.model"}, "spiece.model"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.field);
    test::TemporaryDirectory d;
    for (const char* file : c.files) write_file(d.path() / file, R"({"a": 0})");
    const ErrorParts e = test::error_of([&] { Tokenizer::load(d.path()); });
    CHECK(e.fault == Fault::input);
    CHECK(e.field == c.field);
    CHECK(e.expected == "tokenizer.json, or vocab.json and merges.txt");
  }
}

TEST_CASE("a tokenizer that cannot be opened is an i/o error") {
  test::TemporaryDirectory d;
  CHECK(test::error_of([&] { Tokenizer::load(d / "none"); }).fault == Fault::io);
  write_file(d / "file", "x");
  CHECK(test::error_of([&] { Tokenizer::load(d / "file"); }).fault == Fault::io);
  fs::create_symlink("gone", d / "tokenizer.json");  // as a cache whose blobs were deleted
  const ErrorParts e = test::error_of([&] { Tokenizer::load(d.path()); });
  CHECK(e.fault == Fault::io);
  CHECK(e.where.find("tokenizer.json") != std::string::npos);
}

}  // namespace vocab_files_test
