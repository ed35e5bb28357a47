// Characters of a text and the three classes of them that byte-level pre-tokenizers tell apart.
//
// Apart from the pre-tokenizer because it knows code points and no pattern. The classes are those
// of Unicode 16.0 (unicode_ranges.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace notch::data {

/// \p{L}, \p{N}, \s (White_Space), and everything else.
enum class CharClass : std::uint8_t { other, letter, number, space };

CharClass class_of(char32_t code_point);

/// Whether it is a number since Unicode 17.0 only: to \p{N} above it is one of the others.
bool is_newer_number(char32_t code_point);

/// Whether every text of such characters is its own NFC, the form that Unicode composes. Of the
/// others, among which those are that compose with the one before, some texts may be so too.
bool is_kept_by_nfc(char32_t code_point);

/// One character of a text. A byte that begins no valid UTF-8 sequence is a character of its own:
/// of class other, as the replacement character is that other programs put in its place.
struct Char {
  char32_t code_point = 0xFFFD;
  CharClass kind = CharClass::other;
  std::size_t bytes = 1;
};

/// The character that begins at text[at]; at < text.size().
Char char_at(std::string_view text, std::size_t at);

}  // namespace notch::data
