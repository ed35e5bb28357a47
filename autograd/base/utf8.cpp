#include "autograd/base/utf8.h"

#include "autograd/base/error.h"

namespace notch {

bool is_utf8(std::string_view text, std::size_t* bad_offset) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  std::size_t i = 0;
  while (i < text.size()) {
    // Unicode 15, table 3-7: the length follows from the first byte, which also narrows the second.
    const unsigned char first = byte(i);
    std::size_t length = 0;
    unsigned char low = 0x80, high = 0xbf;
    if (first < 0x80) {
      ++i;
      continue;
    }
    if (first >= 0xc2 && first <= 0xdf) length = 2;
    if (first >= 0xe0 && first <= 0xef) length = 3;
    if (first >= 0xf0 && first <= 0xf4) length = 4;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    bool valid =
        length > 0 && i + length <= text.size() && byte(i + 1) >= low && byte(i + 1) <= high;
    for (std::size_t k = 2; valid && k < length; ++k) {
      valid = byte(i + k) >= 0x80 && byte(i + k) <= 0xbf;
    }
    if (!valid) {
      if (bad_offset) *bad_offset = i;
      return false;
    }
    i += length;
  }
  return true;
}

void append_utf8(std::string& out, std::uint32_t code) {
  check(code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF), "utf-8", "U+", std::hex, code,
        " is no character");
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
    return;
  }
  if (code < 0x800) {
    put(0xC0u | (code >> 6));
  } else if (code < 0x10000) {
    put(0xE0u | (code >> 12));
    put(0x80u | ((code >> 6) & 0x3Fu));
  } else {
    put(0xF0u | (code >> 18));
    put(0x80u | ((code >> 12) & 0x3Fu));
    put(0x80u | ((code >> 6) & 0x3Fu));
  }
  put(0x80u | (code & 0x3Fu));
}

}  // namespace notch
