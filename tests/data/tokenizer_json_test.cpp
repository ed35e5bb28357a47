#include "data/tokenizer_json.h"

#include "data/tokenizer.h"
#include "data/vocab_files.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace tokenizer_json_test {

using namespace notch;
using namespace notch::data;

using Ids = std::vector<std::int32_t>;

/// A file as the tokenizers library writes them; parts can be put in the place of the usual ones.
struct File {
  std::string added = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true})";
  std::string model = R"("type": "BPE", "dropout": null, "unk_token": null)";
  std::string vocab = R"({"a": 0, "b": 1, "\u0120": 2, "1": 3, "ab": 4, "\u0120a": 5})";
  std::string merges = R"([["a", "b"], ["\u0120", "a"]])";

  std::string text() const {
    return str(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": )", added,
               R"(, "normalizer": )", normalizer, R"(, "pre_tokenizer": )", pre_tokenizer,
               R"(, "post_processor": )", post_processor, R"(, "decoder": )", decoder,
               R"(, "model": {)", model, R"(, "vocab": )", vocab, R"(, "merges": )", merges, "}}");
  }
};

Tokenizer load(const std::string& text) {
  test::TemporaryDirectory d;
  write_file(d.path() / "tokenizer.json", text);
  return Tokenizer::load(d.path());
}

ErrorParts load_error(const std::string& text) {
  return test::error_of([&] { load(text); });
}

std::string added(std::string_view content, int id, bool normalized, bool special = true) {
  return str(R"({"id": )", id, R"(, "content": )", json_quote(content),
             R"(, "single_word": false, "lstrip": false, "rstrip": false, "normalized": )",
             normalized ? "true" : "false", R"(, "special": )", special ? "true" : "false", "}");
}

constexpr const char* kBytesOnly =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})";

std::string split_before_bytes(std::string_view regex) {
  return str(R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": )",
             json_quote(regex), R"(}, "behavior": "Isolated", "invert": false}, )", kBytesOnly,
             "]}");
}

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

TEST_CASE("a byte-level BPE is read from tokenizer.json") {
  File f;
  f.added = str("[", added("<s>", 6, false), "]");
  const Tokenizer t = load(f.text());
  CHECK(t.kind() == TokenizerKind::bpe);
  CHECK(t.vocab_size() == 7);
  CHECK(t.encode("ab a ab<s>a1") == Ids{4, 5, 2, 4, 6, 0, 3});  // of " ab" a and b merge first
  f.merges = R"(["a b", "\u0120 a"])";                          // as older versions write merges
  f.model =
      R"("type": "BPE", "fuse_unk": false, "byte_fallback": false, "continuing_subword_prefix": "",
               "end_of_word_suffix": "")";
  CHECK(load(f.text()).definition_hash() == t.definition_hash());
}

TEST_CASE("tokenizer.json is read before vocab.json and merges.txt") {
  test::TemporaryDirectory d;
  write_file(d.path() / "tokenizer.json", File{}.text());
  write_file(d.path() / "vocab.json", R"({"x": 0})");
  write_file(d.path() / "merges.txt", "#version: 0.2\n");
  CHECK(Tokenizer::load(d.path()).vocab_size() == 6);
  fs::remove(d.path() / "tokenizer.json");
  CHECK(Tokenizer::load(d.path()).vocab_size() == 1);
}

TEST_CASE("the pre-tokenizers of SmolLM2, Llama 3 and Qwen 2 are read") {
  File f;
  // 'a', ' ', '1', '1': " 1" would be one word, and have no merge either, so the words are made
  // visible by a merge of two digits.
  f.vocab =
      R"({"a": 0, "1": 1, "11": 2, "1111": 3, "111": 4, "\u0120": 5, "A": 6, "'": 7, "'A": 8})";
  f.merges = R"([["1", "1"], ["11", "11"], ["11", "1"], ["'", "A"]])";
  const auto with = [&](const std::string& pre) {
    f.pre_tokenizer = pre;
    return load(f.text());
  };
  const auto digits = [](const char* single) {
    return str(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": )",
               single, R"(}, {"type": "ByteLevel", "add_prefix_space": false}]})");
  };
  CHECK(with(File{}.pre_tokenizer).encode("a1111") == Ids{0, 3});
  CHECK(with(digits("false")).encode("a1111") == Ids{0, 3});
  CHECK(with(digits("true")).encode("a1111") == Ids{0, 1, 1, 1, 1});
  CHECK(with(split_before_bytes(kLlama3)).encode("a1111'A") == Ids{0, 4, 1, 8});
  std::string qwen2 = kLlama3;
  qwen2.replace(qwen2.find("{1,3}"), 5, "");
  CHECK(with(split_before_bytes(qwen2)).encode("a1111'A") == Ids{0, 1, 1, 1, 1, 8});
  CHECK(with(File{}.pre_tokenizer).encode("'A") == Ids{7, 6});
  // GPT-2's as tiktoken writes it (gpt2 in openai_public.py).
  const Tokenizer gpt2 = with(split_before_bytes(
      R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"));
  CHECK(gpt2.encode("a1111'A") == Ids{0, 3, 7, 6});
  CHECK(gpt2.vocabulary().pre_tokenizer == PreTokenizer{});
}

TEST_CASE("a byte order mark before tokenizer.json is no part of it") {
  CHECK(load("\xEF\xBB\xBF" + File{}.text()).definition_hash() ==
        load(File{}.text()).definition_hash());
}

TEST_CASE("a normalizer is read where it does nothing") {
  File f;
  // Bytes of e acute, of a combining acute (CC 81) and of a right quote (E2 80 99).
  f.vocab = R"({"e": 0, "\u00c3": 1, "\u00a9": 2, "\u00cc": 3, "\u0123": 4, "\u00e2": 5,)"
            R"( "\u0122": 6, "\u013b": 7})";
  f.merges = "[]";
  const std::string plain = load(f.text()).definition_hash();
  f.normalizer = R"({"type": "Sequence", "normalizers": []})";
  CHECK(load(f.text()).definition_hash() == plain);
  CHECK(load(f.text()).encode("e\u0301") == Ids{0, 3, 4});
  for (const char* nfc :
       {R"({"type": "NFC"})", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})"}) {
    f.normalizer = nfc;
    f.added = str("[", added("<\u0301>", 8, false), "]");
    const Tokenizer t = load(f.text());
    CHECK(t.encode("\u00e9e\u2019") == Ids{1, 2, 0, 5, 6, 7});
    CHECK(t.encode("e<\u0301>e") == Ids{0, 8, 0});  // searched for in the text as it is
    const ErrorParts e = test::error_of([&] { t.encode("e\u00e9<\u0301>e\u0301"); });
    CHECK(e.fault == Fault::input);
    CHECK(e.where == "text: byte offset 8");
    CHECK(e.found.starts_with("U+0301"));
    test::TemporaryDirectory d;
    t.save(d.path());
    CHECK_FALSE(fs::exists(d / "vocab.json"));
    const Tokenizer back = Tokenizer::load(d.path());
    CHECK(back.vocabulary().nfc);
    CHECK(test::error_of([&] { back.encode("e\u0301"); }).found == e.found);
    // Behind the normalizer it would be searched for as NFC writes it.
    f.added = str("[", added("e\u0301", 8, true), "]");
    CHECK(load_error(f.text()).field == "added_tokens[0].content");
  }
}

TEST_CASE("a tokenizer of another kind is refused by its type") {
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"}) {
    File f;
    f.model = str(R"("type": ")", type, R"(", "unk_id": 0, "max_input_chars_per_word": 100)");
    f.normalizer = R"({"type": "BertNormalizer"})";
    f.decoder = R"({"type": "Metaspace"})";
    const ErrorParts e = load_error(f.text());
    CHECK(e.field == "model.type");
    CHECK(e.found == json_quote(type));
  }
}

TEST_CASE("a tokenizer comes back from tokenizer.json the same") {
  const std::string digits =
      R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},)"
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]})";
  for (const std::string& pre : {File{}.pre_tokenizer, digits, split_before_bytes(kLlama3)}) {
    for (const char* ignore : {"false", "true"}) {
      CAPTURE(pre, ignore);
      File f;
      f.pre_tokenizer = pre;
      f.model += str(R"(, "ignore_merges": )", ignore);
      f.added = str("[", added("<s>", 6, false), ", ", added("\u00E9", 7, true, false), "]");
      f.post_processor = R"({"type": "TemplateProcessing", "single": []})";
      const Tokenizer t = load(f.text());
      test::TemporaryDirectory d;
      t.save(d.path());
      const Tokenizer back = Tokenizer::load(d.path());
      CHECK(back.definition_hash() == t.definition_hash());
      CHECK(back.encode("ab 11<s>a\u00E9") == t.encode("ab 11<s>a\u00E9"));
      const Json json = Json::parse(read_file(d / "tokenizer.json"), "t");
      CHECK(json.at("post_processor", "t").at("type", "t").as_string("t") == "TemplateProcessing");
      CHECK(json.at("added_tokens", "t").as_array("t")[1].at("special", "t").dump() == "false");
      // GPT-2's two files have no way to say the others.
      const bool gpt2 = pre == File{}.pre_tokenizer && std::string_view(ignore) == "false";
      CHECK(fs::exists(d / "vocab.json") == gpt2);
    }
  }
}

TEST_CASE("all three kinds are written as one file and as GPT-2's") {
  const Tokenizer all[] = {Tokenizer::bytes(), Tokenizer::characters("hello\n"),
                           Tokenizer::train("low low low lower", 300)};
  for (const Tokenizer& t : all) {
    test::TemporaryDirectory d;
    t.save(d.path());
    const Tokenizer whole = Tokenizer::load(d.path());
    fs::remove(d / "tokenizer.json");
    const Tokenizer pair = Tokenizer::load(d.path());
    for (const Tokenizer* back : {&whole, &pair}) {
      CHECK(back->kind() == t.kind());
      CHECK(back->definition_hash() == t.definition_hash());
    }
  }
}

TEST_CASE("a token added to vocab.json alone is a token") {
  const test::TemporaryDirectory d;
  Tokenizer::train("low low low lower", 260).save(d.path());
  const std::string words = read_file(d / "vocab.json");
  std::string more = words;
  more.replace(more.rfind('}'), 1,
               str(", \"<|endoftext|>\": ", Tokenizer::load(d.path()).vocab_size(), "}"));
  write_file(d / "vocab.json", more);
  const Tokenizer edited = Tokenizer::load(d.path());
  CHECK(edited.vocab_size() == std::ssize(Json::parse(words, "v").as_object("v")) + 1);
  CHECK(edited.encode("<|endoftext|>").size() == 1);
  // Who wrote tokenizer.json anew means that one.
  write_file(d / "tokenizer.json", read_file(d / "tokenizer.json") + "\n");
  CHECK(Tokenizer::load(d.path()).vocab_size() + 1 == edited.vocab_size());
}

TEST_CASE("tokenizer_config.json is what transformers asks for") {
  const auto saved = [](const Tokenizer& t) {
    test::TemporaryDirectory d;
    t.save(d.path());
    return Json::parse(read_file(d / "tokenizer_config.json"), "t");
  };
  // AutoTokenizer's class for a tokenizer.json alone; without the flag decode("a .") is "a.".
  const Json plain = saved(Tokenizer::bytes());
  CHECK(plain.at("tokenizer_class", "t").as_string("t") == "PreTrainedTokenizerFast");
  CHECK(plain.at("clean_up_tokenization_spaces", "t").dump() == "false");
  CHECK(plain.find("eos_token") == nullptr);
  File f;
  f.added = str("[", added("<|endoftext|>", 6, false), "]");
  CHECK(saved(load(f.text())).at("eos_token", "t").as_string("t") == "<|endoftext|>");
}

TEST_CASE("ignore_merges makes a word that is a token that token") {
  File f;
  f.vocab = R"({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5})";
  f.merges = R"([["b", "c"], ["a", "b"]])";  // nothing makes abc
  CHECK(load(f.text()).encode("abc") == Ids{0, 4});
  f.model += R"(, "ignore_merges": true)";
  CHECK(load(f.text()).encode("abc") == Ids{5});
  CHECK(load(f.text()).encode("abca") == Ids{0, 4, 0});
}

TEST_CASE("a token that two merges make is made by either") {
  File f;
  f.vocab = R"({"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5})";
  f.merges =
      R"([["a", "bc"], ["ab", "c"], ["b", "c"], ["a", "b"]])";  // parts made later: Llama 3's
  const Tokenizer t = load(f.text());
  CHECK(t.encode("abc") == Ids{5});
  CHECK(t.encode("ab") == Ids{3});
}

TEST_CASE("normalized added tokens are searched for between the others") {
  File f;
  f.added =
      str("[", added("<ab", 6, true), ", ", added("b>", 7, false), ", ", added("<", 8, true), "]");
  // Leftmost would be "<ab"; "b>" is not normalized and goes first.
  CHECK(load(f.text()).encode("<ab>") == Ids{8, 0, 7});
  f.added = str("[", added("<ab", 6, false), ", ", added("b>", 7, false), ", ",
                added(">", 8, false), "]");
  CHECK(load(f.text()).encode("<ab>") == Ids{6, 8});
}

TEST_CASE("what would change the tokens is refused by its key and name") {
  struct Case {
    std::function<void(File&)> change;
    const char* field;
    const char* found;
  };
  const std::string prefix =
      R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})";
  const Case cases[] = {
      {[](File& f) { f.model = R"("type": "WordPiece")"; }, "model.type", "WordPiece"},
      {[](File& f) { f.model = R"("type": "Unigram")"; }, "model.type", "Unigram"},
      {[](File& f) { f.model += R"(, "byte_fallback": true)"; }, "model.byte_fallback", "true"},
      {[](File& f) { f.model = R"("type": "BPE", "dropout": 0.1)"; }, "model.dropout", "0.1"},
      {[](File& f) { f.model = R"("type": "BPE", "unk_token": "a")"; }, "model.unk_token", "\"a\""},
      {[](File& f) { f.model += R"(, "end_of_word_suffix": "</w>")"; }, "model.end_of_word_suffix",
       "</w>"},
      {[](File& f) { f.model += R"(, "new_thing": 1)"; }, "model.new_thing", "1"},
      {[](File& f) { f.normalizer = R"({"type": "Lowercase"})"; }, "normalizer", "Lowercase"},
      {[](File& f) { f.decoder = R"({"type": "Metaspace"})"; }, "decoder", "Metaspace"},
      {[](File& f) { f.pre_tokenizer = R"({"type": "Metaspace"})"; }, "pre_tokenizer", "Metaspace"},
      {[](File& f) { f.pre_tokenizer = "null"; }, "pre_tokenizer", "null"},
      {[](File& f) { f.pre_tokenizer = kBytesOnly; }, "pre_tokenizer.use_regex", "false"},
      {[&](File& f) { f.pre_tokenizer = prefix; }, "pre_tokenizer.add_prefix_space", "true"},
      {[](File& f) { f.pre_tokenizer = split_before_bytes("\\w+"); },
       "pre_tokenizer.pretokenizers[0].pattern", "\\\\w+"},
      {[](File& f) {
         f.pre_tokenizer = str(R"({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, )",
                               kBytesOnly, "]}");
       },
       "pre_tokenizer.pretokenizers[0].type", "Whitespace"},
      {[](File& f) { f.post_processor = R"({"type": "BertProcessing"})"; }, "post_processor.type",
       "BertProcessing"},
      {[](File& f) {
         f.added = R"([{"id": 6, "content": "<m>", "lstrip": true, "special": true}])";
       },
       "added_tokens[0].lstrip", "true"},
      {[](File& f) { f.added = str("[", added("ab", 6, false), "]"); }, "ab", "6"},
      {[](File& f) { f.added = str("[", added("<s>", 7, false), "]"); }, "<s>", "7"},
      {[](File& f) { f.vocab = "{\"a\": 0, \"b\": 1, \"\u20AC\": 2}"; }, "\u20AC", "id 2"},
      {[](File& f) { f.merges = R"([["a", "c"]])"; }, "c", "c"},
      {[](File& f) { f.merges = R"([["b", "a"]])"; }, "b a", "ba"},
      {[](File& f) { f.merges = R"([["a", "b"], ["a", "b"]])"; }, "a b", "a b"},
      {[](File& f) { f.merges = R"([["a"]])"; }, "", "[\"a\"]"},
  };
  for (const Case& c : cases) {
    File f;
    c.change(f);
    CAPTURE(f.text());
    const ErrorParts e = load_error(f.text());
    CHECK(e.fault == Fault::input);
    CHECK(e.where.find("tokenizer.json") != std::string::npos);
    CHECK(e.field == c.field);
    CHECK(e.found.find(c.found) != std::string::npos);
  }
  for (const char* text : {"", "[]", "{", R"({"model": 3})", R"({"model": {"type": "BPE"}})"}) {
    CAPTURE(text);
    CHECK(load_error(text).fault == Fault::input);
  }
}

TEST_CASE("a vocabulary of more tokens than 16 bits") {
  Vocabulary v;
  for (int b = 0; b < 256; ++b) v.tokens.push_back(std::string(1, static_cast<char>(b)));
  for (int i = 0; i < 65536; ++i) {
    v.tokens.push_back(str("<", i, ">"));
    v.added.push_back({.id = 256 + i});
  }
  const Tokenizer t = load(tokenizer_json(v));
  CHECK(t.encode("a<65535>") == Ids{'a', 65791});
}

}  // namespace tokenizer_json_test
