#include "autograd/base/printable.h"

#include <cstdint>

#include "autograd/base/utf8.h"

namespace notch {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

bool is_hidden(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/// Of valid UTF-8: the character at the beginning, and its bytes.
std::uint32_t first_character(std::string_view text, std::size_t& bytes) {
  const auto byte = [&](std::size_t i) {
    return std::uint32_t{static_cast<unsigned char>(text[i])};
  };
  bytes = byte(0) < 0x80 ? 1 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  std::uint32_t c = bytes == 1 ? byte(0) : byte(0) & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) c = c << 6 | (byte(i) & 0x3f);
  return c;
}

std::string escaped(std::string_view text, std::string_view kept) {
  std::string out;
  while (!text.empty()) {
    std::size_t valid = text.size();
    is_utf8(text, &valid);
    for (std::size_t at = 0, bytes = 0; at < valid; at += bytes) {
      const std::uint32_t c = first_character(text.substr(at), bytes);
      if (!is_hidden(c) || (c < 0x80 && kept.find(text[at]) != kept.npos)) {
        out += text.substr(at, bytes);
      } else if (c == '\n' || c == '\t') {
        out += c == '\n' ? "\\n" : "\\t";
      } else {
        out += "\\u";
        for (int shift = 12; shift >= 0; shift -= 4) out += kHex[c >> shift & 15];
      }
    }
    text.remove_prefix(valid);
    if (text.empty()) break;
    const auto bad = static_cast<unsigned char>(text[0]);
    out += "\\x";
    out += kHex[bad >> 4];
    out += kHex[bad & 15];
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) { return escaped(text, ""); }
std::string printable_lines(std::string_view text) { return escaped(text, "\n\t"); }

}  // namespace notch
