#include "data/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "data/unicode_ranges.h"

namespace notch::data {
namespace {

CharClass find_class(char32_t code_point) {
  const auto* after =
      std::ranges::upper_bound(unicode::kRanges, code_point, {}, &unicode::Range::first);
  if (after == std::begin(unicode::kRanges)) return CharClass::other;
  const unicode::Range& range = *std::prev(after);
  return code_point <= range.last ? range.kind : CharClass::other;
}

// Most texts are of few code points, and most of those are below this.
constexpr char32_t kTabled = 0x3000;

const std::array<CharClass, kTabled>& table() {
  static const std::array<CharClass, kTabled> classes = [] {
    std::array<CharClass, kTabled> all{};
    for (char32_t c = 0; c < kTabled; ++c) all[c] = find_class(c);
    return all;
  }();
  return classes;
}

bool continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u;
}

// The lowest code point that needs so many bytes: below it a sequence is overlong.
constexpr std::array<char32_t, 5> kLowest{0, 0, 0x80, 0x800, 0x10000};

}  // namespace

CharClass class_of(char32_t code_point) {
  return code_point < kTabled ? table()[code_point] : find_class(code_point);
}

bool is_newer_number(char32_t code_point) {
  return std::ranges::any_of(unicode::kNewerNumbers, [&](const unicode::Range& range) {
    return range.first <= code_point && code_point <= range.last;
  });
}

Char char_at(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {lead, class_of(lead), 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC0 || lead > 0xF4) return {};
  char32_t point = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!continues(text, at + i)) return {};
    point = point << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < kLowest[bytes] || point > 0x10FFFF || surrogate) return {};
  return {point, class_of(point), bytes};
}

}  // namespace notch::data
