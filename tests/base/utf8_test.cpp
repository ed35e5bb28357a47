// What is UTF-8, and characters as their bytes.
#include "autograd/base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/catch.h"

namespace utf8_test {

using namespace notch;
using test::error_of;

TEST_CASE("is_utf8 accepts exactly the sequences of Unicode table 3-7") {
  struct Row {
    std::string_view text;
    bool valid;
    std::size_t bad = 0;
  };
  const std::vector<Row> rows = {
      {"", true},
      {"plain", true},
      {std::string_view("\0", 1), true},
      {"\xc2\x80", true},          // U+0080
      {"\xdf\xbf", true},          // U+07FF
      {"\xe0\xa0\x80", true},      // U+0800
      {"\xed\x9f\xbf", true},      // U+D7FF
      {"\xee\x80\x80", true},      // U+E000
      {"\xef\xbf\xbf", true},      // U+FFFF
      {"\xf0\x90\x80\x80", true},  // U+10000
      {"\xf4\x8f\xbf\xbf", true},  // U+10FFFF
      {"a\x80", false, 1},         // continuation alone
      {"\xc0\xaf", false, 0},      // overlong
      {"\xc1\xbf", false, 0},
      {"\xe0\x9f\xbf", false, 0},
      {"\xf0\x8f\xbf\xbf", false, 0},
      {"\xed\xa0\x80", false, 0},  // surrogates
      {"\xed\xbf\xbf", false, 0},
      {"\xf4\x90\x80\x80", false, 0},  // above U+10FFFF
      {"\xf5\x80\x80\x80", false, 0},
      {"\xff", false, 0},
      {"ok\xe2\x82", false, 2},  // cut off
      {"ok\xe2\x82z", false, 2},
      {"\xc3\xa9\xc3", false, 2},
      {"\xf0\x90\x80", false, 0},
      {"\xf0\x90\x80z", false, 0},
  };
  for (const Row& row : rows) {
    std::size_t bad = 999;
    CAPTURE(row.text);
    CHECK(is_utf8(row.text, &bad) == row.valid);
    CHECK(bad == (row.valid ? 999 : row.bad));
  }
}

TEST_CASE("append_utf8 writes a character's shortest sequence") {
  for (const std::uint32_t last : {0x7fu, 0x7ffu, 0xffffu, 0x10ffffu}) {
    std::string out = "a";
    append_utf8(out, last);
    const std::size_t bytes = last < 0x80 ? 1 : last < 0x800 ? 2 : last < 0x10000 ? 3 : 4;
    CHECK(out.size() == 1 + bytes);
    CHECK(is_utf8(out));
    if (last == 0x10ffff) continue;
    append_utf8(out, last + 1);
    CHECK(out.size() == 1 + bytes + bytes + 1);
    CHECK(is_utf8(out));
  }
  std::string out;
  append_utf8(out, 0x20ac);
  CHECK(out == "\xe2\x82\xac");
  for (const std::uint32_t none : {0xd800u, 0xdfffu, 0x110000u})
    CHECK(error_of([&] { append_utf8(out, none); }).fault == Fault::usage);
}

}  // namespace utf8_test
