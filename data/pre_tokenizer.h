// The pre-tokenizer: cuts a text into the words that byte-pair merges never cross.
//
// Written by hand from the regular expressions, since the standard library's know no Unicode. Of
// the alternatives of a pattern the first that matches is taken, as in those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace notch::data {

/// gpt2 (Radford et al. 2019, encoder.py; what `ByteLevel` means in a tokenizer.json):
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// llama3 (a `Split` in the tokenizer.json of Llama 3):
///   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
///   \s*[\r\n]+|\s+(?!\S)|\s+
/// qwen2 (in that of Qwen 2): the same with \p{N} for \p{N}{1,3}.
enum class SplitPattern : std::uint8_t { gpt2, llama3, qwen2 };

/// `Digits` before the pattern: cuts the text around every run of numbers, or every single one. Its
/// numbers are those of a newer Unicode than the pattern's (17.0, as in tokenizers 0.23.2).
enum class DigitSplit : std::uint8_t { none, runs, single };

struct PreTokenizer {
  SplitPattern pattern = SplitPattern::gpt2;
  DigitSplit digits = DigitSplit::none;  ///< none unless the pattern is gpt2

  /// The end (one past) of the word that starts at `begin` < text.size().
  std::size_t word_end(std::string_view text, std::size_t begin) const;

  bool operator==(const PreTokenizer&) const = default;
};

}  // namespace notch::data
