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

// Characters of NFC_Quick_Check=Yes and combining class 0 (DerivedNormalizationProps.txt,
// UnicodeData.txt; UAX #15, section 9): those that most texts are of, in ranges that may hold code
// points without a character.
struct Kept {
  char32_t first = 0, last = 0;
};
constexpr Kept kKept[] = {
    {0x0000, 0x02FF},    // Latin, with its letters composed
    {0x0388, 0x0482},    // Greek, Cyrillic
    {0x048A, 0x058F},    // Cyrillic, Armenian
    {0x05D0, 0x05F4},    // Hebrew letters
    {0x0620, 0x064A},    // Arabic letters
    {0x0660, 0x066F},    //
    {0x1E00, 0x1EFF},    // Latin, Vietnamese
    {0x2002, 0x20CF},    // punctuation, currencies
    {0x2100, 0x2125},    // letterlike; U+2126, the ohm, becomes an omega
    {0x212C, 0x2328},    // arrows, mathematics
    {0x232B, 0x2ADB},    //
    {0x2E80, 0x3029},    // radicals, punctuation
    {0x3030, 0x3098},    // hiragana
    {0x309B, 0xA4CF},    // katakana, ideographs, Yi
    {0xAC00, 0xD7A3},    // Hangul syllables
    {0xE000, 0xF8FF},    // private use
    {0xFE00, 0xFE0F},    // variation selectors
    {0xFE30, 0xFFFD},    // full and half width
    {0x1F000, 0x1FAFF},  // pictures
    {0x20000, 0x2F7FF},  // ideographs
};

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

bool is_kept_by_nfc(char32_t code_point) {
  const auto* after = std::ranges::upper_bound(kKept, code_point, {}, &Kept::first);
  return after != std::begin(kKept) && code_point <= std::prev(after)->last;
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
