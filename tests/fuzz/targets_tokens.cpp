// Tokenizers' files, texts, and the cache of their tokens.
#include <algorithm>

#include "autograd/base/json.h"
#include "autograd/base/sha256.h"
#include "autograd/base/unsynced_writes.h"
#include "data/corpus.h"
#include "data/token_cache.h"
#include "data/tokenizer.h"
#include "experiments/program/gguf_vocabulary.h"
#include "tests/fuzz/targets.h"
#include "tests/nn/plain_file.h"

namespace notch::test::fuzz {
namespace {

using data::Tokenizer;

constexpr std::string_view kSample = "The cat's 12 hats,\n\xc3\xa9\xf0\x9f\x98\x80 <|endoftext|>x";

/// Saved and loaded, it is the same.
void check_saved(const Tokenizer& tokenizer) {
  const UnsyncedWrites fast;
  const fs::path dir = scratch() / "saved";
  fs::remove_all(dir);
  tokenizer.save(dir);
  const Tokenizer back = Tokenizer::load(dir);
  require(back.vocabulary().tokens == tokenizer.vocabulary().tokens &&
              back.kind() == tokenizer.kind() && back.end_of_text() == tokenizer.end_of_text() &&
              back.vocabulary().merges.size() == tokenizer.vocabulary().merges.size(),
          "a tokenizer that does not come back");
}

/// tokenizer.json, or vocab.json, merges.txt and added_tokens.json.
int fuzz_tokenizer(const std::uint8_t* data, std::size_t size) {
  const fs::path dir = scratch() / "tokenizer";
  put_files(dir, unpack(text_of(data, size)));
  Tokenizer tokenizer = Tokenizer::bytes();
  if (!taken([&] { tokenizer = Tokenizer::load(dir); })) return 0;
  check_tokenizer(tokenizer, kSample);
  check_saved(tokenizer);
  return 0;
}

const Tokenizer& trained() {
  static const Tokenizer tokenizer =
      Tokenizer::train("the cat that sat on the mat that the hat had", 262);
  return tokenizer;
}

Files saved_files(const Tokenizer& tokenizer) {
  const UnsyncedWrites fast;
  const fs::path dir = scratch() / "seed";
  fs::remove_all(dir);
  tokenizer.save(dir);
  return files_of(dir);
}

std::vector<std::string> vocabulary_seeds() {
  std::vector<std::string> seeds;
  for (const Tokenizer& t : {Tokenizer::characters(kSample), trained()}) {
    Files files = saved_files(t);
    std::erase_if(files, [](const auto& file) { return file.first == "tokenizer.json"; });
    seeds.push_back(pack(files));
  }
  seeds.push_back(pack({{"vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})"},
                        {"merges.txt", "#version: 0.2\na b\n"},
                        {"added_tokens.json", R"({"<|endoftext|>": 3})"}}));
  return seeds;
}

std::vector<std::string> tokenizer_json_seeds() {
  std::vector<std::string> seeds;
  for (const Tokenizer& t : {Tokenizer::characters(kSample), trained()}) {
    Files files = saved_files(t);
    std::erase_if(files, [](const auto& file) { return file.first != "tokenizer.json"; });
    seeds.push_back(pack(files));
  }
  return seeds;
}

int fuzz_corpus(const std::uint8_t* data, std::size_t size) {
  const std::string text(text_of(data, size));
  data::Corpus corpus;
  if (!taken([&] { corpus = data::make_corpus("x", text, {.val = 0.1, .test = 0.1}, "x.txt"); })) {
    return 0;
  }
  require(str(corpus.train(), corpus.val(), corpus.test()) == corpus.text, "splits lose text");
  check_tokenizer(Tokenizer::bytes(), corpus.text);
  taken([&] { check_tokenizer(Tokenizer::characters(corpus.text), corpus.text); });
  Tokenizer bpe = Tokenizer::bytes();
  if (taken([&] { bpe = Tokenizer::train(corpus.train(), 260); })) {
    check_tokenizer(bpe, corpus.text);
  }
  taken([&] { data::tokenize(corpus, bpe); });
  return 0;
}

std::vector<std::string> corpus_seeds() {
  return {"A text of one line, and another.\nThat was it. That was it, the other said.",
          str("\xef\xbb\xbf", kSample, std::string("\0\0", 2), "\r\n\xe2\x80\xae\xef\xbf\xbf")};
}

/// The first byte is the size of the vocabulary, and whether the file's digest is made right.
int fuzz_token_cache(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kDigest = 64;
  if (size < 1 + kDigest) return 0;
  data::TokenData tokens{.vocab_size = data[0] & 0x7f};
  std::string bytes(text_of(data, size).substr(1));
  if (data[0] & 0x80) {
    bytes.resize(bytes.size() - kDigest);
    bytes += sha256(bytes);
  }
  put_file(scratch() / "k.bin", bytes);
  const bool whole = taken([&] {
    if (!data::read_token_cache(scratch(), "k", tokens)) throw Error({.where = "k", .what = "no"});
  });
  if (!whole) {
    require(tokens.train.empty() && tokens.val.empty() && tokens.test.empty(), "half a cache");
  }
  for (const auto* split : {&tokens.train, &tokens.val, &tokens.test}) {
    for (const std::int32_t id : *split)
      require(id >= 0 && id < tokens.vocab_size, "an id without a token");
  }
  return 0;
}

std::vector<std::string> token_cache_seeds() {
  const UnsyncedWrites fast;
  data::write_token_cache(scratch(), "k",
                          {.train = {1, 2, 3, 4, 5}, .val = {6, 7}, .test = {8}, .vocab_size = 65});
  const std::string bytes = read_file(scratch() / "k.bin");
  return {"A" + bytes, "\xc1" + bytes};
}

/// A post-processor that puts an id before a text which no token has.
std::vector<std::string> tokenizer_json_past() {
  std::vector<std::string> past;
  for (const std::string& seed : tokenizer_json_seeds()) {
    for (const char* id : {"4294967296", "-1", "70000"}) {
      Files files = unpack(seed);
      Json json = Json::parse(files.front().second, files.front().first);
      json.set(
          "post_processor",
          Json::parse(str(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id":)",
                          R"("<b>", "type_id": 0}}], "special_tokens": {"<b>": {"id": "<b>",)",
                          R"("ids": [)", id, R"(], "tokens": ["<b>"]}}})"),
                      "past"));
      files.front().second = json.dump();
      past.push_back(pack(files));
    }
  }
  return past;
}

const bool tokens_added =
    add_targets({{"vocabulary", fuzz_tokenizer, vocabulary_seeds, none},
                 {"tokenizer_json", fuzz_tokenizer, tokenizer_json_seeds, tokenizer_json_past},
                 {"corpus", fuzz_corpus, corpus_seeds, none},
                 {"token_cache", fuzz_token_cache, token_cache_seeds, none}});

}  // namespace

void check_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> ids;
  if (taken([&] { ids = tokenizer.encode(text); })) {
    require(tokenizer.decode(ids) == text, "a text that does not come back: ", text);
  }
  taken([&] {
    const std::optional<std::int32_t> first = experiments::token_before(tokenizer.vocabulary());
    require(!first || (*first >= 0 && *first < tokenizer.vocab_size()), "a token of no text");
  });
}

}  // namespace notch::test::fuzz
