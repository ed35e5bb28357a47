// Tokenizers to GGUF and back: llama.cpp's names for the ways words are cut, and the token before a text.
#include "experiments/program/gguf_vocabulary.h"

#include "tests/catch.h"

namespace notch::experiments::gguf_vocabulary_test {

using data::DigitSplit;
using data::SplitPattern;
using data::Tokenizer;
using test::error_of;

constexpr const char* kText = "the cat and the hat and the 1234 bats' own theatre, that\nthe end";

Tokenizer bpe(SplitPattern pattern, DigitSplit digits = DigitSplit::none, bool ignore = false) {
  data::Vocabulary v = Tokenizer::train(kText, 290).vocabulary();
  v.pre_tokenizer = {pattern, digits};
  v.ignore_merges = ignore;
  return Tokenizer::of(std::move(v));
}

TEST_CASE("words that llama.cpp has a name for survive GGUF") {
  struct Case {
    SplitPattern pattern;
    DigitSplit digits;
    bool ignore;
    const char* name;
  };
  for (const Case& c : {Case{SplitPattern::gpt2, DigitSplit::none, false, "gpt-2"},
                        Case{SplitPattern::gpt2, DigitSplit::single, false, "smollm"},
                        Case{SplitPattern::llama3, DigitSplit::none, true, "llama-bpe"},
                        Case{SplitPattern::llama3, DigitSplit::none, false, "smaug-bpe"},
                        Case{SplitPattern::qwen2, DigitSplit::none, false, "qwen2"}}) {
    INFO(c.name);
    const Tokenizer from = bpe(c.pattern, c.digits, c.ignore);
    const quant::GgufVocabulary v = gguf_vocabulary(from);
    CHECK(v.pre == c.name);
    CHECK_FALSE(v.add_bos);
    const Tokenizer back = gguf_tokenizer(v, "f.gguf");
    CHECK(back.definition_hash() == from.definition_hash());
    CHECK(back.encode(kText) == from.encode(kText));
  }
  for (const auto& [pattern, digits, ignore] :
       {std::tuple{SplitPattern::gpt2, DigitSplit::runs, false},
        std::tuple{SplitPattern::qwen2, DigitSplit::none, true}}) {
    CHECK(error_of([&, p = pattern, d = digits, i = ignore] {
            gguf_vocabulary(bpe(p, d, i));
          }).fault == Fault::usage);
  }
}

TEST_CASE("byte and char vocabularies survive GGUF") {
  for (const Tokenizer& from : {Tokenizer::bytes(), Tokenizer::characters(kText)}) {
    const quant::GgufVocabulary v = gguf_vocabulary(from);
    CHECK(v.merges.empty());
    CHECK(v.pre == "qwen2");
    CHECK(gguf_tokenizer(v, "f.gguf").definition_hash() == from.definition_hash());
  }
}

TEST_CASE("added tokens and the token before a text survive GGUF") {
  data::Vocabulary v = Tokenizer::train(kText, 290).vocabulary();
  const auto id = static_cast<std::int32_t>(v.tokens.size());
  v.tokens.insert(v.tokens.end(), {"<|begin|>", "<tool>"});
  v.added = {{.id = id}, {.id = id + 1, .special = false}};
  quant::GgufVocabulary g = gguf_vocabulary(Tokenizer::of(v));
  CHECK(g.kinds[static_cast<std::size_t>(id)] == quant::GgufVocabulary::kControl);
  CHECK(g.kinds[static_cast<std::size_t>(id + 1)] == quant::GgufVocabulary::kUserDefined);
  CHECK_FALSE(token_before(v));
  g.add_bos = true, g.bos = id;
  const Tokenizer back = gguf_tokenizer(g, "f.gguf");
  CHECK(back.vocabulary().added.size() == 2);
  CHECK(back.vocabulary().added[0].special);
  CHECK_FALSE(back.vocabulary().added[1].special);
  REQUIRE(token_before(back.vocabulary()));
  CHECK(*token_before(back.vocabulary()) == id);
  CHECK(gguf_vocabulary(back) == g);
  // As tokenizer.json has it, behind another processor.
  data::Vocabulary w = v;
  w.post_processor = Json::parse(
      str(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}},
                     {"Sequence": {"id": "A", "type_id": 0}}],
          "special_tokens": {"<|begin|>": {"id": "<|begin|>", "tokens": ["<|begin|>"], "ids": [)",
          id, "]}}}]}"),
      "t");
  CHECK(token_before(w) == id);
  w.post_processor = Json::parse(
      R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]})",
      "t");
  CHECK_FALSE(token_before(w));
  // 2^32 + 3 was token 3, and -1 went to the model.
  for (const std::string& none : {std::string("4294967299"), std::string("-1"), str(id + 2)}) {
    w.post_processor = Json::parse(
        str(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<b>"}}],
               "special_tokens": {"<b>": {"ids": [)",
            none, "]}}}"),
        "t");
    const ErrorParts e = error_of([&] { token_before(w); });
    CHECK(e.fault == Fault::input);
    CHECK(e.found == none);
    CHECK(e.expected == str("an id from 0 to ", id + 1));
  }
}

TEST_CASE("tokens and template of a GGUF are named for transformers") {
  data::Vocabulary v = Tokenizer::train(kText, 290).vocabulary();
  const auto id = static_cast<std::int32_t>(v.tokens.size());
  v.tokens.insert(v.tokens.end(), {"<|begin|>", "<|im_end|>"});
  v.added = {{.id = id}, {.id = id + 1}};
  v.companions.tokenizer_config = R"({"chat_template": "{{ bos_token }}"})";
  quant::GgufVocabulary g = gguf_vocabulary(Tokenizer::of(v));
  CHECK(g.chat_template == "{{ bos_token }}");
  CHECK_FALSE(g.bos);
  CHECK_FALSE(g.eos);
  const auto config = [](const quant::GgufVocabulary& from) {
    return Json::parse(gguf_tokenizer(from, "f.gguf").vocabulary().companions.tokenizer_config,
                       "t");
  };
  CHECK(config(g).as_object("t").size() == 1);
  g.bos = id, g.eos = id + 1;
  CHECK(config(g).at("bos_token", "t").as_string("t") == "<|begin|>");
  CHECK(config(g).at("eos_token", "t").as_string("t") == "<|im_end|>");
  CHECK(config(g).at("chat_template", "t").as_string("t") == "{{ bos_token }}");
  CHECK(gguf_vocabulary(gguf_tokenizer(g, "f.gguf")).chat_template == g.chat_template);
  g.eos = 65;  // a letter
  CHECK(config(g).find("eos_token") == nullptr);
  g.chat_template = "\xFF";
  const ErrorParts e = error_of([&] { config(g); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "tokenizer.chat_template");
}

TEST_CASE("GPT-2's end of text begins and ends texts in GGUF") {
  data::Vocabulary v = Tokenizer::train(kText, 290).vocabulary();
  const auto id = static_cast<std::int32_t>(v.tokens.size());
  v.tokens.push_back("<|endoftext|>");
  v.added = {{.id = id}};
  const quant::GgufVocabulary g = gguf_vocabulary(Tokenizer::of(v));
  CHECK(g.bos == id);
  CHECK(g.eos == id);
  CHECK_FALSE(g.add_bos);
}

TEST_CASE("GGUF tokens of no kind are read by their spelling") {
  quant::GgufVocabulary v = gguf_vocabulary(bpe(SplitPattern::gpt2));
  const Tokenizer expected = gguf_tokenizer(v, "f.gguf");
  v.kinds.assign(v.kinds.size(), 0);  // llama.cpp's LLAMA_TOKEN_TYPE_UNDEFINED
  CHECK(gguf_tokenizer(v, "f.gguf").definition_hash() == expected.definition_hash());
  v.tokens.push_back("<|a b|>");  // a space is no letter of the byte alphabet
  v.kinds.push_back(0);
  const Tokenizer more = gguf_tokenizer(v, "f.gguf");
  REQUIRE(more.vocabulary().added.size() == 1);
  CHECK(more.vocabulary().added[0].special);
  CHECK(more.encode("<|a b|>").size() == 1);
}

TEST_CASE("GGUF tokens that no merge makes need a type that says so") {
  const quant::GgufVocabulary good = gguf_vocabulary(bpe(SplitPattern::gpt2));
  quant::GgufVocabulary v = good;
  v.merges.clear();  // as files without tokenizer.ggml.merges
  ErrorParts e = error_of([&] { gguf_tokenizer(v, "f.gguf"); });
  CHECK(e.fault == Fault::input);
  CHECK(e.field == "tokenizer.ggml.tokens[256]");  // the first after the bytes
  CHECK(e.what == "no merge makes the token");
  CHECK(e.hint.find("tokenizer.ggml.merges") != std::string::npos);
  v.pre = "llama-bpe";  // finds whole words without merges, but no parts of words
  CHECK(error_of([&] { gguf_tokenizer(v, "f.gguf"); }).field == "tokenizer.ggml.tokens[256]");
  v = good;
  v.merges.pop_back();
  e = error_of([&] { gguf_tokenizer(v, "f.gguf"); });
  CHECK(e.field == str("tokenizer.ggml.tokens[", v.tokens.size() - 1, "]"));
  // As vocab.json alone: one that looks special is, also where the file calls all of them ordinary.
  v = good;
  v.tokens.push_back("<|endoftext|>");
  for (const bool said : {true, false}) {
    v.kinds = said ? std::vector<std::int32_t>(v.tokens.size(), quant::GgufVocabulary::kNormal)
                   : std::vector<std::int32_t>{};
    const Tokenizer t = gguf_tokenizer(v, "f.gguf");
    CHECK(t.end_of_text() == std::ssize(good.tokens));
    CHECK(t.encode("<|endoftext|>") == std::vector<std::int32_t>{t.end_of_text()});
  }
}

TEST_CASE("a token that no text becomes survives GGUF") {
  data::Vocabulary from = Tokenizer::train(kText, 290).vocabulary();
  from.tokens.push_back("hatter");  // tokenizer.json can have it in its vocabulary without a merge
  const Tokenizer t = Tokenizer::of(from);
  const quant::GgufVocabulary v = gguf_vocabulary(t);
  CHECK(v.kinds.back() == quant::GgufVocabulary::kUnused);
  CHECK(std::ranges::count(v.kinds, quant::GgufVocabulary::kUnused) == 1);
  const Tokenizer back = gguf_tokenizer(v, "f.gguf");
  CHECK(back.definition_hash() == t.definition_hash());
  CHECK(back.encode("hatter") == t.encode("hatter"));
  CHECK(back.encode("hatter").size() > 1);
  CHECK(back.token(back.vocab_size() - 1) == "hatter");
}

TEST_CASE("a GGUF that does not say how words are cut is refused") {
  quant::GgufVocabulary v = gguf_vocabulary(bpe(SplitPattern::gpt2));
  for (const char* unsaid : {"", "default"}) {
    v.pre = unsaid;
    const ErrorParts e = error_of([&] { gguf_tokenizer(v, "f.gguf"); });
    CHECK(e.field == "tokenizer.ggml.pre");
    CHECK(e.hint.find("--pre-tokenizer") != std::string::npos);
  }
}

TEST_CASE("what is no byte-level BPE is refused by its key") {
  const quant::GgufVocabulary good = gguf_vocabulary(bpe(SplitPattern::gpt2));
  const auto field = [&](auto change) {
    quant::GgufVocabulary v = good;
    change(v);
    const ErrorParts e = error_of([&] { gguf_tokenizer(v, "f.gguf"); });
    CHECK(e.fault == Fault::input);
    return e.field.empty() ? e.where : e.field;
  };
  CHECK(field([](auto& v) { v.pre = "tekken"; }) == "tokenizer.ggml.pre");
  CHECK(field([](auto& v) { v.tokens[7] = "\xe2\x96\x81the"; }) == "tokenizer.ggml.tokens[7]");
  CHECK(field([](auto& v) { v.tokens[9] = v.tokens[8]; }) == "tokenizer.ggml.tokens[9]");
  CHECK(field([](auto& v) { v.kinds[7] = -1; }) == "tokenizer.ggml.token_type[7]");
  CHECK(field([](auto& v) { v.kinds[7] = 7; }) == "tokenizer.ggml.token_type[7]");
  CHECK(field([](auto& v) { v.merges[3] = "the"; }) == "tokenizer.ggml.merges[3]");
  // What merges and tokens say of each other: data::MergeReader.
  CHECK(error_of([&] {
          quant::GgufVocabulary v = good;
          v.merges[3] = "q qq";
          gguf_tokenizer(v, "f.gguf");
        }).fault == Fault::input);
}

}  // namespace notch::experiments::gguf_vocabulary_test
