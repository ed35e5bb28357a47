#include "experiments/config/toml_scalar.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "autograd/base/error.h"

namespace notch::experiments::toml {

namespace {

bool is_hex_letter(char c) { return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

Scalar error(std::string what, std::string hint = {}) {
  return {.value = {}, .error = std::move(what), .hint = std::move(hint)};
}

/// Removes `_` between two digits; false if one stands anywhere else.
bool remove_separators(std::string_view token, int base, std::string& digits) {
  const auto part = [&](char c) { return is_digit(c) || (base == 16 && is_hex_letter(c)); };
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] != '_') {
      digits += token[i];
    } else if (i == 0 || i + 1 == token.size() || !part(token[i - 1]) || !part(token[i + 1])) {
      return false;
    }
  }
  return true;
}

/// The shape of TOML's integers and floats: sign? digits (. digits)? (e sign? digits)?
struct Shape {
  bool valid = false, leading_zero = false, is_float = false;
};

Shape shape_of(std::string_view s) {
  Shape shape;
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t begin = i;
    while (i < s.size() && is_digit(s[i])) ++i;
    return i - begin;
  };
  if (i < s.size() && (s[i] == '+' || s[i] == '-')) ++i;
  const std::size_t first = i;
  const std::size_t whole = digits();
  if (whole == 0) return shape;
  shape.leading_zero = whole > 1 && s[first] == '0';
  if (i < s.size() && s[i] == '.') {
    ++i;
    shape.is_float = true;
    if (digits() == 0) return shape;
  }
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    shape.is_float = true;
    if (i < s.size() && (s[i] == '+' || s[i] == '-')) ++i;
    if (digits() == 0) return shape;
  }
  shape.valid = i == s.size();
  return shape;
}

Scalar read_integer(std::string_view digits, int base, std::string_view token) {
  std::int64_t value = 0;
  const auto [end, code] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (code == std::errc::result_out_of_range) return error(str(token, " does not fit in 64 bits"));
  if (code != std::errc{} || end != digits.data() + digits.size()) {
    return error(str(token, " is not a number"));
  }
  return {.value = value};
}

/// What another language calls a boolean, or nothing.
std::string_view other_word(std::string_view s) {
  constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"True", "write true"},
      {"TRUE", "write true"},
      {"yes", "write true"},
      {"False", "write false"},
      {"FALSE", "write false"},
      {"no", "write false"},
      {"None", "leave the key out for its default"},
      {"null", "leave the key out for its default"},
      {"nil", "leave the key out for its default"}};
  for (const auto& [word, remedy] : kWords)
    if (word == s) return remedy;
  return {};
}

/// "[1, 2, 3]" for 1-3 and 1..3, "" for anything else.
std::string list_of_range(std::string_view s) {
  constexpr std::int64_t kShown = 8;
  std::int64_t low = 0, high = 0;
  const char* const past = s.data() + s.size();
  const auto [low_end, low_error] = std::from_chars(s.data(), past, low);
  std::string_view rest(low_end, static_cast<std::size_t>(past - low_end));
  if (low_error != std::errc{} || low < 0) return "";
  const std::size_t between = rest.starts_with("..") ? 2 : rest.starts_with('-') ? 1 : 0;
  rest.remove_prefix(between);
  if (between == 0 || rest.empty() || !is_digit(rest.front())) return "";
  const auto [high_end, high_error] = std::from_chars(rest.data(), past, high);
  if (high_error != std::errc{} || high_end != past || high <= low) return "";
  std::string list = str('[', low);
  for (std::int64_t i = 1; i < kShown && i <= high - low; ++i) list += str(", ", low + i);
  return list + (high - low < kShown ? "]" : str(", and so on to ", high, ']'));
}

bool looks_like_date(std::string_view s) {
  const auto all_digits = [&](std::size_t n) {
    return s.size() > n &&
           std::all_of(s.begin(), s.begin() + static_cast<std::ptrdiff_t>(n), is_digit);
  };
  return (all_digits(4) && s[4] == '-') || (all_digits(2) && s[2] == ':');
}

}  // namespace

Scalar read_scalar(std::string_view token) {
  if (token == "true") return {.value = true};
  if (token == "false") return {.value = false};
  if (const std::string list = list_of_range(token); !list.empty())
    return error(str(token, " is not a value: there are no ranges"), "write " + list);
  if (looks_like_date(token))
    return error("dates and times are not supported", "write it as a \"string\"");
  std::string_view unsigned_token = token;
  if (token.front() == '+' || token.front() == '-') unsigned_token.remove_prefix(1);
  if (unsigned_token == "inf" || unsigned_token == "nan") {
    return error(str(token, " is not supported"), "write a finite number");
  }
  if (!is_digit(token.front()) && token.front() != '+' && token.front() != '-') {
    if (token.front() == '.') return error(str(token, " is not a number"), str("write 0", token));
    if (const std::string_view remedy = other_word(token); !remedy.empty())
      return error(str(token, " is not a value"), std::string(remedy));
    return error(str(token, " is not a value"), str("a string needs quotes: \"", token, "\""));
  }
  std::string number;
  const int base = token.substr(0, 2) == "0x"   ? 16
                   : token.substr(0, 2) == "0o" ? 8
                   : token.substr(0, 2) == "0b" ? 2
                                                : 10;
  if (!remove_separators(base == 10 ? token : token.substr(2), base, number)) {
    return error(str(token, " is not a number: _ stands between two digits only"));
  }
  if (base != 10) {
    if (number.empty() || number.front() == '-') return error(str(token, " is not a number"));
    return read_integer(number, base, token);
  }
  const Shape shape = shape_of(number);
  if (shape.leading_zero)
    return error(str(token, " has a leading zero"), "remove it; octal is written 0o17");
  if (number.back() == '.' && shape_of(number + '0').valid)
    return error(str(token, " is not a number"), str("write ", token, '0'));
  if (!shape.valid) return error(str(token, " is not a number"), "a string needs quotes");
  if (number.front() == '+') number.erase(0, 1);
  if (!shape.is_float) return read_integer(number, 10, token);
  double value = 0;
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (code != std::errc{}) return error(str(token, " is out of the range of a double"));
  return {.value = value};
}

}  // namespace notch::experiments::toml
