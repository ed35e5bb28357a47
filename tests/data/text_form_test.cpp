#include "data/text_form.h"

#include "tests/catch.h"

namespace text_form_test {

using namespace notch;
using namespace notch::data;
using namespace std::string_view_literals;

constexpr std::string_view kText = "She has walked. He had been going to the shop.";

/// ASCII in an encoding with `width` bytes per character; the letter is the last byte of them or
/// the first.
std::string wide(std::string_view text, std::size_t width, bool letter_last) {
  std::string out;
  for (const char c : text) {
    std::string unit(width, '\0');
    unit[letter_last ? width - 1 : 0] = c;
    out += unit;
  }
  return out;
}

ErrorParts refusal(std::string_view text) {
  return test::error_of([&] { require_utf8(text, "the text"); });
}

TEST_CASE("texts in UTF-8 pass, also with NUL bytes and a byte order mark") {
  for (const std::string_view text :
       {""sv, "a"sv, kText, "\xEF\xBB\xBF marked"sv, "nul \0 \0\0 bytes \0"sv, "\xE2\x82\xAC"sv,
        "<!DOCTYPE html><html>a page is a text</html>"sv, "GGUF is a format"sv}) {
    require_utf8(text, "the text");
  }
}

TEST_CASE("UTF-16 and UTF-32 are named, with a mark and without") {
  const struct {
    std::string text;
    std::string_view encoding;
  } cases[] = {{"\xFF\xFE" + wide(kText, 2, false), "utf-16"},
               {"\xFE\xFF" + wide(kText, 2, true), "utf-16"},
               {wide(kText, 2, false), "utf-16le"},
               {wide(kText, 2, true), "utf-16be"},
               {std::string("\xFF\xFE\0\0", 4) + wide(kText, 4, false), "utf-32"},
               {std::string("\0\0\xFE\xFF", 4) + wide(kText, 4, true), "utf-32"}};
  for (const auto& c : cases) {
    CAPTURE(c.encoding);
    const ErrorParts e = refusal(c.text);
    CHECK(e.fault == Fault::input);
    CHECK(e.where == "the text");
    CHECK(e.found == c.encoding);
    CHECK(e.hint.find(str("iconv -f ", c.encoding, " ")) != std::string::npos);
  }
}

TEST_CASE("compressed data and pointers in place of a text are named") {
  const struct {
    std::string_view bytes, name, hint;
  } cases[] = {{"\x1f\x8b\x08\0\0\0\0\0"sv, "gzip", "gunzip"},
               {"\x28\xb5\x2f\xfd\x04\x58", "zstd", "zstd"},
               {"PK\x03\x04\x14\0"sv, "zip", "unzip"},
               {"BZh9\x31\x41\x59\x26\x53\x59\xf0", "bzip2", "bzip2"},
               {"version https://git-lfs.github.com/spec/v1\noid", "LFS", "git lfs pull"}};
  for (const auto& c : cases) {
    CAPTURE(c.name);
    const ErrorParts e = refusal(c.bytes);
    CHECK(e.fault == Fault::input);
    CHECK(e.found.find(c.name) != std::string::npos);
    CHECK(e.hint.find(c.hint) != std::string::npos);
    CHECK(e.hint.find("latin1") == std::string::npos);
  }
}

TEST_CASE("the advice on a byte that is not UTF-8 fits what precedes it") {
  // 8 bits per character; a damaged byte in a text with characters beyond ASCII; a cut end.
  const ErrorParts latin = refusal("a caf\xE9 in the town");
  CHECK(latin.where == "the text: byte offset 5");
  CHECK(latin.hint.find("-f latin1") != std::string::npos);
  const ErrorParts damaged = refusal("\xC3\xA9t\xC3\xA9 \xFF and on");
  CHECK(damaged.where == "the text: byte offset 6");
  CHECK(damaged.hint.find("latin1") == std::string::npos);
  CHECK(damaged.hint.find("iconv -f utf-8") != std::string::npos);
  const std::string whole = "so \xF0\x9F\x98\x80";
  for (std::size_t lost = 1; lost <= 3; ++lost) {
    const ErrorParts cut = refusal(std::string_view(whole).substr(0, whole.size() - lost));
    CHECK(cut.where == "the text: byte offset 3");
    CHECK(cut.what.find("ends inside") != std::string::npos);
    CHECK(cut.hint.find("head -c 3 ") != std::string::npos);
  }
}

}  // namespace text_form_test
