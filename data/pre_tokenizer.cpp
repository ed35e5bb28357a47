#include "data/pre_tokenizer.h"

#include <limits>

#include "data/unicode.h"

namespace notch::data {
namespace {

constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

/// The end of the run of characters of class `kind`, of `most` at most.
std::size_t run_end(std::string_view text, std::size_t at, CharClass kind,
                    std::size_t most = kAll) {
  for (; at < text.size() && most > 0; --most) {
    const Char c = char_at(text, at);
    if (c.kind != kind) break;
    at += c.bytes;
  }
  return at;
}

bool is_newline(char c) { return c == '\r' || c == '\n'; }

/// The end of the contraction at `at`, or `at`. Without regard to case 's also takes U+017F, the
/// long s: that is Unicode's case folding.
std::size_t contraction_end(std::string_view text, std::size_t at, bool any_case) {
  if (text[at] != '\'') return at;
  const std::string_view rest = text.substr(at + 1, 2);
  for (const std::string_view suffix : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    std::size_t same = 0;
    for (; same < suffix.size() && same < rest.size(); ++same) {
      const char c = rest[same];
      const char folded = any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      if (folded != suffix[same]) break;
    }
    if (same == suffix.size()) return at + 1 + same;
  }
  return any_case && rest == "\xC5\xBF" ? at + 3 : at;
}

/// \s+(?!\S)|\s+ at a space: before a word its last character is left to the word, unless it is the
/// only one.
std::size_t space_end(std::string_view text, std::size_t begin, bool word_follows) {
  std::size_t last = begin, at = begin;
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (c.kind != CharClass::space) break;
    last = at;
    at += c.bytes;
  }
  return word_follows && at < text.size() && last > begin ? last : at;
}

bool is_digit(const Char& c) {
  return c.kind == CharClass::number ||
         (c.kind == CharClass::other && is_newer_number(c.code_point));
}

/// The end of the run of characters that are both to the pattern and to Digits what the first is.
std::size_t cut_end(std::string_view text, std::size_t begin) {
  const Char first = char_at(text, begin);
  std::size_t at = begin + first.bytes;
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (c.kind != first.kind || is_digit(c) != is_digit(first)) break;
    at += c.bytes;
  }
  return at;
}

std::size_t gpt2_end(std::string_view text, std::size_t begin, DigitSplit digits) {
  const std::size_t contracted = contraction_end(text, begin, false);
  if (contracted > begin) return contracted;
  const Char first = char_at(text, begin);
  if (digits == DigitSplit::single && is_digit(first)) return begin + first.bytes;
  const auto word = [&](std::size_t at, CharClass kind) {
    return digits == DigitSplit::none ? run_end(text, at, kind) : cut_end(text, at);
  };
  if (first.kind != CharClass::space) return word(begin, first.kind);
  // Digits cut the text before the pattern sees it: to what is before a number, the text ends.
  const auto cut_before = [&](const Char& c) { return digits != DigitSplit::none && is_digit(c); };
  if (text[begin] == ' ' && begin + 1 < text.size()) {
    const Char next = char_at(text, begin + 1);
    if (next.kind != CharClass::space && !cut_before(next)) return word(begin + 1, next.kind);
  }
  const std::size_t end = run_end(text, begin, CharClass::space);
  return space_end(text, begin, end < text.size() && !cut_before(char_at(text, end)));
}

/// llama3's pattern, with `digits` numbers in a word.
std::size_t llama3_end(std::string_view text, std::size_t begin, std::size_t digits) {
  const std::size_t contracted = contraction_end(text, begin, true);
  if (contracted > begin) return contracted;
  const Char first = char_at(text, begin);
  const std::size_t second = begin + first.bytes;
  if (first.kind == CharClass::letter) return run_end(text, begin, CharClass::letter);
  if (first.kind == CharClass::number) return run_end(text, begin, CharClass::number, digits);
  const CharClass next = second < text.size() ? char_at(text, second).kind : CharClass::space;
  if (next == CharClass::letter && !is_newline(text[begin])) {
    return run_end(text, second, CharClass::letter);
  }
  if (first.kind == CharClass::other || (text[begin] == ' ' && next == CharClass::other)) {
    std::size_t end =
        run_end(text, first.kind == CharClass::other ? begin : second, CharClass::other);
    while (end < text.size() && is_newline(text[end])) ++end;
    return end;
  }
  // \s*[\r\n]+: up to the last end of a line in the white space.
  const std::size_t end = run_end(text, begin, CharClass::space);
  const std::size_t newline = text.substr(begin, end - begin).find_last_of("\r\n");
  if (newline != std::string_view::npos) return begin + newline + 1;
  return space_end(text, begin, true);
}

}  // namespace

std::size_t PreTokenizer::word_end(std::string_view text, std::size_t begin) const {
  switch (pattern) {
    case SplitPattern::gpt2:
      break;
    case SplitPattern::llama3:
      return llama3_end(text, begin, 3);
    case SplitPattern::qwen2:
      return llama3_end(text, begin, 1);
  }
  return gpt2_end(text, begin, digits);
}

}  // namespace notch::data
