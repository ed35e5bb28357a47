#include "data/corpus.h"

#include <cstdlib>

#include "autograd/base/sha256.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace corpus_test {

using namespace notch;
using namespace notch::data;

/// Sets an environment variable for the life of the object.
class Environment {
 public:
  Environment(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* old = std::getenv(name_.c_str())) old_ = old;
    had_ = std::getenv(name_.c_str()) != nullptr;
    setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    if (had_) {
      setenv(name_.c_str(), old_.c_str(), 1);
    } else {
      unsetenv(name_.c_str());
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string name_, old_;
  bool had_ = false;
};

Corpus corpus_of(std::string text, double val_fraction = 0.25) {
  return make_corpus("test", std::move(text), {.val = val_fraction}, "test.txt");
}

ErrorParts text_error(const std::string& text) {
  return test::error_of([&] { corpus_of(text); });
}

std::string repeated(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

fs::path only_file(const fs::path& directory) {
  fs::path found;
  int n = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    found = entry.path();
    ++n;
  }
  REQUIRE(n == 1);
  return found;
}

TEST_CASE("a corpus is two contiguous splits of its text") {
  const Corpus c = corpus_of("0123456789ab");
  CHECK(c.train() == "012345678");
  CHECK(c.val() == "9ab");
  CHECK(c.sha256 == sha256("0123456789ab"));
  // nanoGPT's split of tinyshakespeare: int(0.9 * 1115394) = 1003854.
  CHECK(split_point(std::string(1115394, 'x'), 0.1) == 1003854);
}

TEST_CASE("the test split is the text's end, with validation before it") {
  const std::string text = "0123456789abcdefghij";
  const Corpus c = make_corpus("test", text, {.val = 0.25, .test = 0.1}, "test.txt");
  CHECK(c.train() == "0123456789abc");
  CHECK(c.val() == "defgh");
  CHECK(c.test() == "ij");
  // The last tenth is the same text, whichever split it is.
  CHECK(c.test() == corpus_of(text, 0.1).val());
  CHECK(corpus_of(text, 0.1).test().empty());
  for (double f = 0.05; f < 0.5; f += 0.05) {
    const Corpus any = make_corpus("test", repeated("x\xC3\xA9\xF0\x9F\x98\x80", 9),
                                   {.val = f, .test = f}, "test.txt");
    CHECK(is_utf8(any.val()));
    CHECK(is_utf8(any.test()));
    CHECK(any.train().size() + any.val().size() + any.test().size() == 63);
  }
}

TEST_CASE("the split point moves forward to the start of a character") {
  // a, then two characters of 3 bytes: 7 bytes. Half is byte 3, inside the first of them (bytes 1
  // to 3).
  const std::string text = "a\xE2\x82\xAC\xE2\x82\xAC";
  const Corpus c = corpus_of(text, 0.5);
  CHECK(c.train() == "a\xE2\x82\xAC");
  CHECK(c.val() == "\xE2\x82\xAC");
  CHECK(split_point("\xF0\x9F\x98\x80", 0.5) == 4);  // nothing left for validation
  for (double f = 0.05; f < 1; f += 0.05) {
    const Corpus any = corpus_of(repeated("x\xC3\xA9\xF0\x9F\x98\x80", 9), f);
    CHECK(is_utf8(any.train()));
    CHECK(is_utf8(any.val()));
    CHECK(any.train().size() + any.val().size() == 63);
  }
}

TEST_CASE("a validation fraction out of range is refused") {
  for (const double f : {0.0, 1.0, -0.1, 1.5, std::nan("")}) {
    const ErrorParts e = test::error_of([&] { corpus_of("some text", f); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.field == "val_fraction");
  }
}

TEST_CASE("a test fraction that leaves nothing to train on is refused") {
  for (const double f : {-0.1, 0.75, 1.0, std::nan("")}) {
    const ErrorParts e = test::error_of(
        [&] { make_corpus("test", "some text", {.val = 0.25, .test = f}, "test.txt"); });
    CHECK(e.fault == Fault::usage);
    CHECK(e.field == "test_fraction");
  }
}

TEST_CASE("texts that cannot be used are refused") {
  CHECK(text_error("").fault == Fault::input);
  CHECK(text_error("x").fault == Fault::input);
  CHECK(text_error("x").found == "1 bytes");
  const struct {
    std::string text;
    const char* offset;
  } cases[] = {{"abc\xFFxyz", "3"},
               {"ab\xC3", "2"},
               {"a\xC0\x80", "1"},
               {"\xED\xA0\x80zz", "0"},
               {"\xF4\x90\x80\x80", "0"}};
  for (const auto& c : cases) {
    const ErrorParts e = text_error(c.text);
    CHECK(e.fault == Fault::input);
    CHECK(e.field == "encoding");
    CHECK(e.where == std::string("test.txt: byte offset ") + c.offset);
  }
}

TEST_CASE("NUL bytes, carriage returns and a byte order mark are text") {
  const std::string text("a\0b\r\n\xEF\xBB\xBF", 8);
  CHECK(corpus_of(text).text == text);
}

TEST_CASE("a byte order mark before a text is no part of it") {
  const std::string text = "0123456789ab";
  const Corpus marked = corpus_of("\xEF\xBB\xBF" + text), plain = corpus_of(text);
  CHECK(marked.marked);
  CHECK_FALSE(plain.marked);
  CHECK(marked.text == text);
  CHECK(marked.sha256 == plain.sha256);
  CHECK(marked.train() == plain.train());
  CHECK(text_error("\xEF\xBB\xBF").found == "0 bytes");
  CHECK(text_error("\xEF\xBB\xBF"
                   "abc\xFF")
            .where == "test.txt: byte offset 6");  // in the file
}

TEST_CASE("a text is sought as given, a bare name also below NOTCH_DATA") {
  test::TemporaryDirectory d;
  write_file(d.path() / "some.txt", "some text here");
  CHECK(find_text(d.path() / "some.txt") == d.path() / "some.txt");
  const Environment environment("NOTCH_DATA", d.path().string());
  CHECK(find_text("some.txt") == d.path() / "some.txt");
  CHECK(load_corpus("some.txt", {.val = 0.5}).val() == "xt here");
  CHECK(shelved_text("data/corpora/some.txt") == d.path() / "some.txt");
  CHECK_FALSE(shelved_text("other.txt"));
  CHECK(find_text("-") == "-");
  // A path with a folder means that file, and another of its name is not read in its place.
  for (const char* path : {"../nowhere/some.txt", "/no/such/place/some.txt", "./some.txt"}) {
    const ErrorParts other = test::error_of([&] { find_text(path); });
    CHECK(other.fault == Fault::io);
    CHECK(other.where == path);
    CHECK(other.found.find((d.path() / "some.txt").string()) != std::string::npos);
    CHECK_FALSE(other.hint.empty());
  }
  const ErrorParts e = test::error_of([] { find_text("nowhere/other.txt"); });
  CHECK(e.fault == Fault::io);
  CHECK(e.where == "nowhere/other.txt");
  CHECK_FALSE(e.hint.empty());
  CHECK(test::error_of([&] { load_corpus(d.path(), {.val = 0.5}); }).fault == Fault::io);
}

TEST_CASE("tokens follow the split, bytes per token what is predicted") {
  const Corpus c = corpus_of(repeated("low low low lower ", 20), 0.5);
  const Tokenizer t = Tokenizer::train(c.train(), 300);
  const TokenData tokens = tokenize(c, t);
  CHECK(tokens.vocab_size == t.vocab_size());
  CHECK(tokens.train == t.encode(c.train()));
  CHECK(tokens.val == t.encode(c.val()));
  std::size_t bytes = 0;
  for (std::size_t i = 1; i < tokens.val.size(); ++i) bytes += t.token(tokens.val[i]).size();
  CHECK(tokens.val_bytes_per_token ==
        Approx(static_cast<double>(bytes) / static_cast<double>(tokens.val.size() - 1)));
  CHECK(tokenize(c, Tokenizer::bytes()).val_bytes_per_token == 1);
}

TEST_CASE("a split shorter than one window and its target is refused") {
  const Corpus c = corpus_of("0123456789", 0.3);  // 7 and 3 tokens
  const TokenData tokens = tokenize(c, Tokenizer::bytes());
  CHECK_NOTHROW(require_block(tokens, 2, "data"));
  const ErrorParts val = test::error_of([&] { require_block(tokens, 3, "data"); });
  CHECK(val.fault == Fault::input);
  CHECK(val.field == "data.val_fraction");
  CHECK(val.found == "3 of the text's 10 tokens");
  CHECK(test::error_of([&] { require_block(tokens, 7, "data"); }).what.find("training") !=
        std::string::npos);
  const TokenData three = tokenize(
      make_corpus("test", "0123456789", {.val = 0.3, .test = 0.2}, "test.txt"), Tokenizer::bytes());
  CHECK_NOTHROW(require_block(three, 1, "data"));
  CHECK(test::error_of([&] { require_block(three, 2, "data"); }).field == "data.test_fraction");
}

TEST_CASE("shares that are advised for short splits are large enough") {
  const auto after = [](const std::string& hint, const std::string& key, double fallback) {
    const std::size_t at = hint.find(key + "=");
    return at == hint.npos ? fallback : std::stod(hint.substr(at + key.size() + 1));
  };
  std::size_t advised = 0;
  for (std::size_t bytes = 30; bytes < 2000; bytes += 7) {
    for (const Splits splits : {Splits{.val = 0.05}, Splits{.val = 0.2, .test = 0.03},
                                Splits{.val = 0.04, .test = 0.04}}) {
      constexpr std::int64_t kContext = 64;
      const auto required = [&](const Splits& s) {
        const Corpus c = make_corpus("test", std::string(bytes, 'x'), s, "test.txt");
        require_block(tokenize(c, Tokenizer::bytes()), kContext, "test.txt");
      };
      std::string hint;
      try {
        required(splits);
      } catch (const Error& e) {
        hint = e.parts().hint;
        CHECK(hint.find(" text") != std::string::npos);
      }
      const Splits better{.val = after(hint, "data.val_fraction", splits.val),
                          .test = after(hint, "data.test_fraction", splits.test)};
      if (better.val == splits.val && better.test == splits.test) continue;
      ++advised;
      CAPTURE(bytes, hint);
      CHECK_NOTHROW(required(better));
    }
  }
  CHECK(advised > 100);
}

TEST_CASE("the token cache gives one file per text, tokenizer and split") {
  test::TemporaryDirectory d;
  const fs::path cache = d.path() / "cache";
  const Corpus c = corpus_of(repeated("low low lower ", 30));
  const Tokenizer t = Tokenizer::train(c.train(), 300);
  const TokenData first = tokenize(c, t, cache);
  const fs::path file = only_file(cache);
  const auto written = fs::last_write_time(file);
  const TokenData second = tokenize(c, t, cache);
  CHECK(second.train == first.train);
  CHECK(second.val == first.val);
  CHECK(second.val_bytes_per_token == first.val_bytes_per_token);
  CHECK(fs::last_write_time(file) == written);
  const Corpus tested = make_corpus("test", c.text, {.val = 0.15, .test = 0.1}, "test.txt");
  REQUIRE(tested.train_bytes == c.train_bytes);
  const TokenData fresh = tokenize(tested, t), third = tokenize(tested, t, cache),
                  cached = tokenize(tested, t, cache);
  CHECK(third.test == fresh.test);
  CHECK(cached.val == fresh.val);
  CHECK(cached.test == fresh.test);
  CHECK(cached.test_bytes_per_token == fresh.test_bytes_per_token);
  tokenize(c, Tokenizer::bytes(), cache);
  tokenize(corpus_of(c.text, 0.5), t, cache);
  CHECK(std::distance(fs::directory_iterator(cache), fs::directory_iterator()) == 4);
}

TEST_CASE("the token cache has nothing for a text that is refused") {
  const test::TemporaryDirectory d;
  const Corpus c = corpus_of(repeated("e\u0301 ", 50));
  const Tokenizer plain = Tokenizer::bytes();
  Vocabulary v = plain.vocabulary();
  v.nfc = true;
  const Tokenizer nfc = Tokenizer::of(v);
  CHECK(nfc.definition_hash() == plain.definition_hash());  // the same tokens of what both take
  tokenize(c, plain, d.path());
  CHECK(test::error_of([&] { tokenize(c, nfc, d.path()); }).found.starts_with("U+0301"));
}

TEST_CASE("a valid cache is used, not recomputed") {
  // A file made for another text under this text's name would be refused; one whose own contents
  // and key agree is believed. Swapping two ids and renewing the checksum shows that the file was
  // read.
  test::TemporaryDirectory d;
  const Corpus c = corpus_of("abcdefghijklmnopqrst");
  const TokenData tokens = tokenize(c, Tokenizer::bytes(), d.path());
  const fs::path file = only_file(d.path());
  std::string bytes = read_file(file);
  bytes.resize(bytes.size() - 64);
  std::swap(bytes[bytes.size() - 4], bytes[bytes.size() - 8]);
  write_file(file, bytes + sha256(bytes));
  const TokenData read = tokenize(c, Tokenizer::bytes(), d.path());
  CHECK(read.train == tokens.train);
  CHECK(read.val.back() == tokens.val[tokens.val.size() - 2]);
}

TEST_CASE("a damaged cache is rebuilt without a word") {
  test::TemporaryDirectory d;
  const Corpus c = corpus_of("abcdefghijklmnopqrst");
  const Tokenizer t = Tokenizer::bytes();
  const TokenData good = tokenize(c, t, d.path());
  const fs::path file = only_file(d.path());
  const std::string bytes = read_file(file);
  const auto check_rebuilt = [&](std::string_view damaged) {
    write_file(file, damaged);
    const TokenData tokens = tokenize(c, t, d.path());
    REQUIRE(tokens.train == good.train);
    REQUIRE(tokens.val == good.val);
    REQUIRE(read_file(file) == bytes);
  };
  for (std::size_t i = 0; i < bytes.size(); i += 13) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    check_rebuilt(flipped);
    check_rebuilt(std::string_view(bytes).substr(0, i));
  }
  check_rebuilt(bytes + "x");
  // Counts that would overflow, with a checksum that holds.
  std::string huge = bytes.substr(0, bytes.size() - 64);
  for (std::size_t i = 80; i < 104; ++i) huge[i] = '\xFF';
  check_rebuilt(huge + sha256(huge));
  // A last id of -1, likewise: below every vocabulary's size, and no token.
  std::string negative = bytes.substr(0, bytes.size() - 64);
  negative.replace(negative.size() - 4, 4, 4, '\xFF');
  check_rebuilt(negative + sha256(negative));
  // A cache of another text, complete in itself, under this one's name.
  test::TemporaryDirectory other;
  tokenize(corpus_of("ABCDEFGHIJKLMNOPQRST"), t, other.path());
  check_rebuilt(read_file(only_file(other.path())));
}

TEST_CASE("a cache that cannot be written or read costs time, not the run") {
  test::TemporaryDirectory d;
  write_file(d.path() / "file", "x");
  const Corpus c = corpus_of("abcdefghijkl");
  const TokenData tokens = tokenize(c, Tokenizer::bytes(), d.path() / "file");
  CHECK(tokens.train == tokenize(c, Tokenizer::bytes()).train);
}

}  // namespace corpus_test
