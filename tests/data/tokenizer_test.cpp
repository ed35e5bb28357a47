#include "data/tokenizer.h"

#include <cstdlib>
#include <iostream>

#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace tokenizer_test {

using namespace notch;
using namespace notch::data;

constexpr std::string_view kText =
    "the cat sat on the mat, and the other cat didn't sit; it's 12 or 13 cats. caf\xC3\xA9!\n";

std::string random_bytes(Rng& rng, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += static_cast<char>(rng.below(256));
  return out;
}

/// decode(encode(x)) == x, for random bytes and for words with random bytes between them.
void check_round_trips(const Tokenizer& t) {
  Rng rng(5);
  for (int trial = 0; trial < 100; ++trial) {
    std::string text = random_bytes(rng, rng.below(50));
    text += kText.substr(rng.below(kText.size()));
    text += random_bytes(rng, rng.below(5));
    const std::vector<std::int32_t> ids = t.encode(text);
    for (const std::int32_t id : ids) REQUIRE((id >= 0 && id < t.vocab_size()));
    REQUIRE(t.decode(ids) == text);
  }
  CHECK(t.encode("").empty());
  CHECK(t.decode({}).empty());
}

void check_same(const Tokenizer& a, const Tokenizer& b) {
  CHECK(a.kind() == b.kind());
  CHECK(a.vocab_size() == b.vocab_size());
  CHECK(a.definition_hash() == b.definition_hash());
  CHECK(a.encode(kText) == b.encode(kText));
}

TEST_CASE("the byte tokenizer's ids are the bytes and it decodes them") {
  const Tokenizer t = Tokenizer::bytes();
  CHECK(t.vocab_size() == 256);
  CHECK(t.encode("A\xFF\n") == std::vector<std::int32_t>{65, 255, 10});
  check_round_trips(t);
}

TEST_CASE("the char tokenizer numbers its text's bytes in ascending order") {
  const Tokenizer t = Tokenizer::characters("banana \n");
  CHECK(t.kind() == TokenizerKind::character);
  CHECK(t.vocab_size() == 5);  // \n, space, a, b, n
  CHECK(t.encode("ab n\n") == std::vector<std::int32_t>{2, 3, 1, 4, 0});
  CHECK(t.decode(t.encode("nab a\n")) == "nab a\n");
}

TEST_CASE("the char tokenizer names an unknown byte and its place") {
  const Tokenizer t = Tokenizer::characters("abc");
  const ErrorParts e = test::error_of([&] { t.encode("abzc"); });
  CHECK(e.fault == Fault::input);
  CHECK(e.where.find("2") != std::string::npos);
  CHECK(e.found == "0x7A 'z'");
  CHECK(test::error_of([&] { t.encode("a\xC3"); }).found == "0xC3");
  CHECK(test::error_of([] { Tokenizer::characters(""); }).fault == Fault::input);
}

TEST_CASE("bpe decodes what it encoded and shortens its own text") {
  std::string text;
  for (int i = 0; i < 20; ++i) text += kText;
  const Tokenizer t = Tokenizer::train(text, 280);
  CHECK(t.kind() == TokenizerKind::bpe);
  CHECK(t.vocab_size() == 280);
  CHECK(t.encode(text).size() < text.size() * 3 / 4);
  check_round_trips(t);
}

TEST_CASE("bpe encodes by the merges of the worked example") {
  const Tokenizer t = Tokenizer::train("low low low lower", 300);
  CHECK(t.vocab_size() == 259);  // 256 bytes, lo, low, " low": nothing else occurs twice
  CHECK(t.encode("lower slow low") == std::vector<std::int32_t>{257, 'e', 'r', ' ', 's', 257, 258});
  CHECK(t.token(258) == " low");
}

TEST_CASE("a tokenizer of any kind comes back from its directory the same") {
  test::TemporaryDirectory d;
  const Tokenizer all[] = {Tokenizer::bytes(), Tokenizer::characters(kText),
                           Tokenizer::train(std::string(kText) + std::string(kText), 280)};
  for (const Tokenizer& t : all) {
    const fs::path directory = d.path() / std::string(name(t.kind())) / "nested";
    t.save(directory);
    check_same(Tokenizer::load(directory), t);
  }
}

TEST_CASE("different tokenizers have different definition hashes") {
  CHECK(Tokenizer::bytes().definition_hash() != Tokenizer::characters(kText).definition_hash());
  CHECK(Tokenizer::characters("ab").definition_hash() !=
        Tokenizer::characters("abc").definition_hash());
}

TEST_CASE("ids outside the vocabulary are refused") {
  const Tokenizer t = Tokenizer::characters("ab");
  for (const std::int32_t id : {-1, 2}) {
    const std::vector<std::int32_t> ids = {0, id};
    const ErrorParts e = test::error_of([&] { t.decode(ids); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.found == std::to_string(id));
  }
}

TEST_CASE("kinds have names, and a near miss gets a suggestion") {
  for (const char* kind : {"byte", "char", "bpe"}) CHECK(name(tokenizer_kind(kind)) == kind);
  const ErrorParts e = test::error_of([] { tokenizer_kind("chars"); });
  CHECK(e.fault == Fault::usage);
  CHECK(e.hint.find("char") != std::string::npos);
}

TEST_CASE("real text survives every tokenizer") {
  const char* folder = std::getenv("NOTCH_DATA");
  const fs::path path = fs::path(folder == nullptr ? "" : folder) / "tinyshakespeare.txt";
  if (folder == nullptr || !fs::exists(path)) {
    std::cout
        << "skipped: real text survives every tokenizer (no $NOTCH_DATA/tinyshakespeare.txt)\n";
    return;
  }
  const std::string text = read_file(path);
  REQUIRE(sha256(text) == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed");
  const Tokenizer chars = Tokenizer::characters(text);
  CHECK(chars.vocab_size() == 65);  // as char-rnn and nanoGPT report for this file
  CHECK(chars.decode(chars.encode(text)) == text);
  const Tokenizer bpe = Tokenizer::train(text, 1024);
  CHECK(bpe.vocab_size() == 1024);
  CHECK(bpe.decode(bpe.encode(text)) == text);
}

}  // namespace tokenizer_test
