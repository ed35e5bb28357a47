#include "experiments/config/toml_scalar.h"

#include <algorithm>
#include <charconv>

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
  if (looks_like_date(token))
    return error("dates and times are not supported", "write it as a \"string\"");
  std::string_view unsigned_token = token;
  if (token.front() == '+' || token.front() == '-') unsigned_token.remove_prefix(1);
  if (unsigned_token == "inf" || unsigned_token == "nan") {
    return error(str(token, " is not supported"), "write a finite number");
  }
  if (!is_digit(token.front()) && token.front() != '+' && token.front() != '-') {
    if (token.front() == '.') return error(str(token, " is not a number"), str("write 0", token));
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
  if (!shape.valid) return error(str(token, " is not a number"), "a string needs quotes");
  if (number.front() == '+') number.erase(0, 1);
  if (!shape.is_float) return read_integer(number, 10, token);
  double value = 0;
  const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (code != std::errc{}) return error(str(token, " is out of the range of a double"));
  return {.value = value};
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

}  // namespace notch::experiments::toml
