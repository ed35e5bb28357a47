// JSON values and the JSON writer (the reader is json_parse.cpp). One class of value and no schema:
// each format validates its own fields with the typed reads.
#include "autograd/base/json.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/utf8.h"

namespace notch {
namespace {

std::string_view type_name(const Json& v) {
  if (v.is_null()) return "null";
  if (v.is_bool()) return "a boolean";
  if (v.is_int()) return "an integer";
  if (v.is_number()) return "a number";
  if (v.is_string()) return "a string";
  return v.is_array() ? "an array" : "an object";
}

[[noreturn]] void wrong_type(std::string_view where, const Json& found, std::string expected) {
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = "wrong JSON type",
               .found = std::string(type_name(found)),
               .expected = std::move(expected)});
}

void write_newline(std::string& out, int indent, int depth) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth), ' ');
}

void write(std::string& out, const Json& v, int indent, int depth) {
  if (v.is_null()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.as_bool("") ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.as_int(""));
  } else if (v.is_number()) {
    out += json_number(v.as_number(""));
  } else if (v.is_string()) {
    out += json_quote(v.as_string(""));
  } else if (v.is_array()) {
    const Json::Array& items = v.as_array("");
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += indent < 0 ? ", " : ",";
      write_newline(out, indent, depth + 1);
      write(out, items[i], indent, depth + 1);
    }
    if (!items.empty()) write_newline(out, indent, depth);
    out += ']';
  } else {
    const Json::Object& members = v.as_object("");
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += indent < 0 ? ", " : ",";
      write_newline(out, indent, depth + 1);
      out += json_quote(members[i].first) + ": ";
      write(out, members[i].second, indent, depth + 1);
    }
    if (!members.empty()) write_newline(out, indent, depth);
    out += '}';
  }
}

}  // namespace

Json::Json(std::uint64_t i) : value_(static_cast<std::int64_t>(i)) {
  check(i <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()), "json", i,
        " does not fit a JSON integer (int64)");
}

bool Json::as_bool(std::string_view where) const {
  if (!is_bool()) wrong_type(where, *this, "a boolean");
  return std::get<bool>(value_);
}

std::int64_t Json::as_int(std::string_view where) const {
  if (!is_int()) wrong_type(where, *this, "an integer");
  return std::get<std::int64_t>(value_);
}

double Json::as_number(std::string_view where) const {
  if (!is_number()) wrong_type(where, *this, "a number");
  return is_int() ? static_cast<double>(std::get<std::int64_t>(value_)) : std::get<double>(value_);
}

const std::string& Json::as_string(std::string_view where) const {
  if (!is_string()) wrong_type(where, *this, "a string");
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array(std::string_view where) const {
  if (!is_array()) wrong_type(where, *this, "an array");
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object(std::string_view where) const {
  if (!is_object()) wrong_type(where, *this, "an object");
  return std::get<Object>(value_);
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const Member& member : std::get<Object>(value_)) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

const Json& Json::at(std::string_view key, std::string_view where) const {
  if (!is_object()) wrong_type(where, *this, "an object");
  const Json* value = find(key);
  if (!value) {
    throw Error({.fault = Fault::input,
                 .where = std::string(where),
                 .what = "missing",
                 .field = std::string(key)});
  }
  return *value;
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  check(is_object(), "json", "set(", key, ") on ", type_name(*this));
  for (Member& member : std::get<Object>(value_)) {
    if (member.first == key) {
      member.second = std::move(value);
      return *this;
    }
  }
  std::get<Object>(value_).emplace_back(std::string(key), std::move(value));
  return *this;
}

Json& Json::push(Json value) {
  if (is_null()) value_ = Array{};
  check(is_array(), "json", "push on ", type_name(*this));
  std::get<Array>(value_).push_back(std::move(value));
  return *this;
}

std::string Json::dump(int indent) const {
  std::string out;
  write(out, *this, indent, 0);
  return out;
}

std::string json_quote(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  const auto append_valid = [&](std::string_view valid) {
    for (const char c : valid) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (c == '\n') {
        out += "\\n";
      } else if (c == '\r') {
        out += "\\r";
      } else if (c == '\t') {
        out += "\\t";
      } else if (byte < 0x20) {
        out += "\\u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
      } else {
        out += c;
      }
    }
  };
  // A byte that is not UTF-8 (the sample of a byte model cut inside a character) becomes U+FFFD.
  std::size_t bad = 0;
  while (!is_utf8(text, &bad)) {
    append_valid(text.substr(0, bad));
    out += "\\ufffd";
    text.remove_prefix(bad + 1);
  }
  append_valid(text);
  return out + '"';
}

std::string json_number(double x) {
  if (!std::isfinite(x)) return "null";
  if (x == 0 && std::signbit(x)) return "-0.0";  // "-0" would read back as the integer 0
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, x);
  return std::string(digits, result.ptr);
}

}  // namespace notch
