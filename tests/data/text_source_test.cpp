#include "data/text_source.h"

#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace text_source_test {

using namespace notch;
using namespace notch::data;

TEST_CASE("the default source is the built-in corpus by character") {
  const TextSource s = load_source({});
  CHECK(s.corpus.name == "verbs");
  CHECK(s.corpus.bytes > 300000);
  CHECK(s.corpus.bytes == s.corpus.train_bytes + s.corpus.val_bytes);
  CHECK(s.tokenizer.kind() == TokenizerKind::character);
  CHECK(s.tokens.train.size() == s.corpus.train_bytes);
  CHECK(s.tokens.val_bytes_per_token == 1);
  CHECK(load_source({.seed = 2, .sentences = 50}).corpus.sha256 !=
        load_source({.seed = 3, .sentences = 50}).corpus.sha256);
}

TEST_CASE("a text file is read with each tokenizer") {
  test::TemporaryDirectory d;
  std::string text;
  for (int i = 0; i < 50; ++i) text += "some words, and some words again\n";
  text += "Z";  // occurs in the validation split only
  write_file(d.path() / "text.txt", text);
  SourceOptions options{.kind = "text", .path = d.path() / "text.txt", .bpe_vocab = 270};
  const TextSource chars = load_source(options);
  CHECK(chars.corpus.name == "text.txt");
  CHECK(chars.tokenizer.decode(chars.tokenizer.encode("Z")) == "Z");
  options.tokenizer = "byte";
  CHECK(load_source(options).tokens.vocab_size == 256);
  options.tokenizer = "bpe";
  const TextSource bpe = load_source(options);
  CHECK(bpe.tokens.vocab_size == 270);
  CHECK(bpe.tokens.val_bytes_per_token > 1);
  CHECK(load_source(options, chars.tokenizer).tokens.train == chars.tokens.train);
}

TEST_CASE("bpe is trained on the training split alone") {
  test::TemporaryDirectory d;
  write_file(d.path() / "text.txt", std::string(100, 'a') + std::string(100, 'b'));
  const TextSource s = load_source({.kind = "text",
                                    .path = d.path() / "text.txt",
                                    .tokenizer = "bpe",
                                    .bpe_vocab = 300,
                                    .splits = {.val = 0.5}});
  for (const std::string& token : s.tokenizer.vocabulary().tokens) {
    CHECK((token.size() == 1 || token.find('b') == std::string::npos));
  }
}

TEST_CASE("wrong sources are refused with the right fault") {
  CHECK(test::error_of([] { load_source({.kind = "verb"}); }).fault == Fault::usage);
  CHECK(test::error_of([] { load_source({.tokenizer = "word"}); }).fault == Fault::usage);
  CHECK(test::error_of([] { load_source({.sentences = 0}); }).fault == Fault::usage);
  CHECK(test::error_of([] { load_source({.kind = "text", .path = "no/such"}); }).fault ==
        Fault::io);
  CHECK(test::error_of([] { load_source({.sentences = 20, .block_size = 100000}); }).fault ==
        Fault::input);
}

}  // namespace text_source_test
