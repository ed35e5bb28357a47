// Changes of bytes and of text.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <vector>

#include "autograd/base/error.h"
#include "tests/fuzz/changes.h"

namespace notch::test::fuzz {
namespace {

constexpr std::array<std::string_view, 34> kWords{"0",
                                                  "-1",
                                                  "1",
                                                  "2147483647",
                                                  "2147483648",
                                                  "9223372036854775807",
                                                  "-9223372036854775808",
                                                  "9223372036854775808",
                                                  "1e308",
                                                  "1e-320",
                                                  "-0.0",
                                                  "0.5",
                                                  "1e999",
                                                  "nan",
                                                  "inf",
                                                  "NaN",
                                                  "true",
                                                  "false",
                                                  "null",
                                                  "\"\"",
                                                  "[]",
                                                  "{}",
                                                  "[[",
                                                  "\"\\ud800\"",
                                                  "\"\\u0000\"",
                                                  "\xff",
                                                  "\xc0\x80",
                                                  "\xed\xa0\x80",
                                                  "\xef\xbb\xbf",
                                                  "\u202e",
                                                  std::string_view("\0", 1),
                                                  "\r",
                                                  "\x1b[2J",
                                                  "<|endoftext|>"};

/// A number that could be a length of something in the input becomes another.
void change_length(std::string& bytes, Rng& rng) {
  const std::size_t width = coin(rng) ? 8 : 4;
  if (bytes.size() < width) return;
  std::size_t at = rng.below(bytes.size() - width + 1);
  std::uint64_t value = 0;
  for (std::size_t tries = 0; tries < 64; ++tries) {  // the next number that looks like one
    const std::size_t next = (at + tries) % (bytes.size() - width + 1);
    std::uint64_t here = 0;
    std::memcpy(&here, bytes.data() + next, width);
    if (here == 0 || here > bytes.size()) continue;
    at = next;
    value = here;
    break;
  }
  value = edge(value, rng);
  std::memcpy(bytes.data() + at, &value, width);
}

std::vector<std::string> tokens_of(std::string_view text) {
  const auto in_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  };
  std::vector<std::string> tokens;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (in_word(text[at])) {
      while (end < text.size() && in_word(text[end])) ++end;
    }
    tokens.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return tokens;
}

}  // namespace

std::string_view odd_word(Rng& rng) { return one_of(kWords, rng); }

std::uint64_t edge(std::uint64_t n, Rng& rng) {
  const std::array<std::uint64_t, 14> edges{0,
                                            1,
                                            n - 1,
                                            n + 1,
                                            2 * n,
                                            0x7f,
                                            0xff,
                                            std::uint64_t{1} << 31,
                                            (std::uint64_t{1} << 31) - 1,
                                            (std::uint64_t{1} << 32) - 1,
                                            std::uint64_t{1} << 40,
                                            std::uint64_t{1} << 63,
                                            (std::uint64_t{1} << 63) - 1,
                                            ~std::uint64_t{0}};
  return one_of(edges, rng);
}

std::string change_bytes(std::string bytes, std::string_view other, Rng& rng) {
  const std::size_t at = place(bytes.size(), rng);
  const std::size_t some = 1 + rng.below(coin(rng) ? 4 : 64);
  switch (rng.below(9)) {
    case 0:
      if (!bytes.empty()) {
        bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1u << rng.below(8)));
      }
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = static_cast<char>(rng.next());
      break;
    case 2:
      bytes.insert(at, some, static_cast<char>(coin(rng) ? 0 : rng.next()));
      break;
    case 3:
      bytes.erase(at, some);
      break;
    case 4:
      bytes.resize(at);
      break;
    case 5:
      bytes.insert(at, bytes.substr(place(bytes.size(), rng), some));
      break;
    case 6:
      if (!other.empty()) bytes.replace(at, some, other.substr(place(other.size(), rng), some));
      break;
    default:
      change_length(bytes, rng);
  }
  return bytes;
}

std::string change_text(std::string_view text, std::string_view other, Rng& rng) {
  std::vector<std::string> tokens = tokens_of(text);
  const auto index = [&] { return static_cast<std::ptrdiff_t>(place(tokens.size(), rng)); };
  const std::ptrdiff_t at = index();
  const auto some = std::min<std::ptrdiff_t>(1 + static_cast<std::ptrdiff_t>(rng.below(12)),
                                             std::ssize(tokens) - at);
  switch (tokens.empty() ? 1 : rng.below(7)) {
    case 0:
      tokens[static_cast<std::size_t>(at)] = odd_word(rng);
      break;
    case 1:
      tokens.insert(tokens.begin() + at, std::string(odd_word(rng)));
      break;
    case 2:
      tokens.erase(tokens.begin() + at, tokens.begin() + at + some);
      break;
    case 3:
      std::swap(tokens[static_cast<std::size_t>(at)], tokens[static_cast<std::size_t>(index())]);
      break;
    case 4: {  // over and over: deep nesting, long lists, keys that repeat
      std::string part;
      for (std::ptrdiff_t i = at; i < at + some; ++i) part += tokens[static_cast<std::size_t>(i)];
      std::string repeated;
      const std::size_t times = coin(rng, 4) ? 200 : 1 + rng.below(3);
      for (std::size_t i = 0; i < times; ++i) repeated += part;
      tokens.insert(tokens.begin() + at, repeated);
      break;
    }
    case 5: {
      const std::vector<std::string> others = tokens_of(other.substr(0, 4096));
      if (!others.empty()) tokens[static_cast<std::size_t>(at)] = one_of(others, rng);
      break;
    }
    default: {  // a number becomes one beside it
      for (std::ptrdiff_t i = at; i < std::ssize(tokens); ++i) {
        std::string& token = tokens[static_cast<std::size_t>(i)];
        if (!std::isdigit(static_cast<unsigned char>(token[0])) || token.size() > 15) continue;
        token = str(edge(std::stoull(token), rng));
        break;
      }
    }
  }
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

}  // namespace notch::test::fuzz
