// The JSON reader: recursive descent over RFC 8259's grammar. Stricter than the RFC demands where
// silence would lose data: duplicate keys, lone surrogates and numbers beyond double are errors.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/json.h"
#include "autograd/base/utf8.h"

namespace notch {
namespace {

constexpr int kMaxDepth = 64;
// A tokenizer of 128k tokens with its merges as pairs has a value for every 12 bytes.
constexpr std::size_t kFreeValues = std::size_t{1} << 19, kBytesPerMore = 16;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "line:column", both from 1; the column counts bytes.
std::string line_column(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = newline == before.npos ? offset + 1 : offset - newline;
  return str(lines + 1, ":", column);
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view name, NonFinite non_finite)
      : text_(text), name_(name), non_finite_(non_finite) {}

  Json document() {
    std::size_t bad = 0;
    if (!is_utf8(text_, &bad)) fail(bad, "is not valid UTF-8");
    Json value = parse_value(0);
    skip_space();
    if (at_ < text_.size()) fail(at_, "text after the JSON value", "the end");
    return value;
  }

 private:
  [[noreturn]] void fail(std::size_t offset, std::string what, std::string expected = "") const {
    std::string found;
    if (!expected.empty()) {
      std::size_t end = offset + 1;  // one whole character
      while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xc0) == 0x80) ++end;
      found = offset < text_.size() ? json_quote(text_.substr(offset, end - offset)) : "the end";
    }
    throw Error({.fault = Fault::input,
                 .where = str(name_, ":", line_column(text_, offset)),
                 .what = std::move(what),
                 .found = std::move(found),
                 .expected = std::move(expected)});
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool accept(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  Json parse_value(int depth) {
    skip_space();
    if (at_ >= text_.size()) fail(at_, "the text ends early", "a JSON value");
    if (++values_ > max_values_) fail(at_, str("more than ", max_values_, " values"));
    switch (text_[at_]) {
      case '{':
        return parse_object(depth + 1);
      case '[':
        return parse_array(depth + 1);
      case '"':
        return Json(parse_string());
      case 't':
        return parse_word("true", Json(true));
      case 'f':
        return parse_word("false", Json(false));
      case 'n':
        return parse_word("null", Json());
      default:
        if (const std::optional<double> x = parse_non_finite()) return Json(*x);
        if (text_[at_] == '-' || is_digit(text_[at_])) return parse_number();
        fail(at_, "not a JSON value", "a JSON value");
    }
  }

  Json parse_word(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail(at_, "not a JSON value", "a JSON value");
    at_ += word.size();
    return value;
  }

  std::optional<double> parse_non_finite() {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    constexpr std::pair<std::string_view, double> kWords[] = {
        {"NaN", std::numeric_limits<double>::quiet_NaN()},
        {"Infinity", kInfinity},
        {"-Infinity", -kInfinity}};
    for (const auto& [word, value] : kWords) {
      if (non_finite_ == NonFinite::refused || !text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    return std::nullopt;
  }

  void check_depth(int depth) const {
    if (depth > kMaxDepth) fail(at_, str("nested deeper than ", kMaxDepth, " levels"));
  }

  Json parse_array(int depth) {
    check_depth(depth);
    ++at_;
    Json::Array items;
    skip_space();
    if (accept(']')) return Json(std::move(items));
    while (true) {
      items.push_back(parse_value(depth));
      skip_space();
      if (accept(']')) return Json(std::move(items));
      if (!accept(',')) fail(at_, "array not continued", "',' or ']'");
    }
  }

  Json parse_object(int depth) {
    check_depth(depth);
    ++at_;
    Json::Object members;
    std::vector<std::size_t> key_offsets;
    skip_space();
    if (accept('}')) return Json(std::move(members));
    while (true) {
      skip_space();
      if (peek() != '"') fail(at_, "object key missing", "a string");
      key_offsets.push_back(at_);
      std::string key = parse_string();
      skip_space();
      if (!accept(':')) fail(at_, "object value missing", "':'");
      members.emplace_back(std::move(key), parse_value(depth));
      skip_space();
      if (accept('}')) break;
      if (!accept(',')) fail(at_, "object not continued", "',' or '}'");
    }
    check_unique(members, key_offsets);
    return Json(std::move(members));
  }

  // By sorting, since a vocabulary has 50k keys; reports the first key that repeats an earlier one.
  void check_unique(const Json::Object& members, const std::vector<std::size_t>& offsets) const {
    std::vector<std::size_t> order(members.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const int compared = members[a].first.compare(members[b].first);
      return compared != 0 ? compared < 0 : a < b;
    });
    std::optional<std::size_t> repeated;
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (members[order[i]].first != members[order[i - 1]].first) continue;
      if (!repeated || order[i] < *repeated) repeated = order[i];
    }
    if (repeated) {
      fail(offsets[*repeated], "duplicate key " + json_quote(members[*repeated].first));
    }
  }

  std::string parse_string() {
    const std::size_t start = at_++;
    std::string out;
    while (true) {
      const std::size_t run = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20) {
        ++at_;
      }
      out.append(text_, run, at_ - run);
      if (at_ >= text_.size()) fail(start, "string without an end");
      if (accept('"')) return out;
      if (text_[at_] != '\\') fail(at_, "control character in a string", "an escape such as \\n");
      parse_escape(out);
    }
  }

  void parse_escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const std::size_t start = at_++;
    const std::size_t known = at_ < text_.size() ? kLetters.find(text_[at_]) : kLetters.npos;
    if (known != kLetters.npos) {
      ++at_;
      out += kMeanings[known];
      return;
    }
    if (!accept('u')) fail(start, "unknown escape in a string");
    std::uint32_t c = parse_hex4(start);
    if (c >= 0xdc00 && c < 0xe000) fail(start, "low surrogate without a high one");
    if (c >= 0xd800 && c < 0xdc00) {
      const bool paired = text_.substr(at_, 2) == "\\u";
      if (paired) at_ += 2;
      const std::uint32_t low = paired ? parse_hex4(start) : 0;
      if (low < 0xdc00 || low >= 0xe000) fail(start, "high surrogate without a low one");
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, c);
  }

  std::uint32_t parse_hex4(std::size_t start) {
    std::uint32_t value = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || end != digits.data() + 4) {
      fail(start, "\\u without four hexadecimal digits");
    }
    at_ += 4;
    return value;
  }

  void skip_digits() {
    if (!is_digit(peek())) fail(at_, "number not continued", "a digit");
    while (is_digit(peek())) ++at_;
  }

  Json parse_number() {
    const std::size_t start = at_;
    bool integral = true;
    accept('-');
    if (peek() == '0' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
      fail(start, "number with a leading zero");
    }
    skip_digits();
    if (accept('.')) {
      integral = false;
      skip_digits();
    }
    if (accept('e') || accept('E')) {
      integral = false;
      if (!accept('+')) accept('-');
      skip_digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    std::int64_t i = 0;
    if (integral && std::from_chars(first, last, i).ec == std::errc()) return Json(i);
    double d = 0;
    if (std::from_chars(first, last, d).ec != std::errc() || !std::isfinite(d)) {
      fail(start, "number out of range: " + std::string(first, last));
    }
    return Json(d);
  }

  std::string_view text_;
  std::string_view name_;
  NonFinite non_finite_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
  std::size_t max_values_ = kFreeValues + text_.size() / kBytesPerMore;
};

}  // namespace

Json Json::parse(std::string_view text, std::string_view name, NonFinite non_finite) {
  return Parser(text, name, non_finite).document();
}

}  // namespace notch
