// JSON values: a strict reader with limits and a writer whose numbers read back exactly.
//
// Reader: RFC 8259; duplicate keys, invalid UTF-8, lone surrogates, trailing text, nesting over 64,
// numbers out of range and more values than 2^19 and one for every 16 bytes are errors (Fault::input,
// where = name:line:column). A value takes 40 bytes and its key 32, whatever it is in the text:
// without a bound on their number a text could ask for 30 times its size.
// Writer: keys keep their order; doubles are written with the fewest digits that read back equal;
// non-finite numbers are written as null.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "autograd/base/nothing.h"

namespace notch {

/// NaN, Infinity and -Infinity, which are not JSON, but which Python's json module writes.
enum class NonFinite : std::uint8_t { refused, allowed };

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // insertion order

  Json() = default;  // null
  Json(bool b) : value_(b) {}
  Json(int i) : value_(std::int64_t{i}) {}
  Json(std::int64_t i) : value_(i) {}
  Json(std::uint64_t i);  // throws when above int64's maximum
  Json(double d) : value_(d) {}
  Json(const char* s) : value_(std::string(s)) {}
  Json(std::string s) : value_(std::move(s)) {}
  Json(std::string_view s) : value_(std::string(s)) {}
  Json(Array a) : value_(std::move(a)) {}
  Json(Object o) : value_(std::move(o)) {}

  static Json object() { return Json(Object{}); }
  static Json array() { return Json(Array{}); }
  static Json parse(std::string_view text, std::string_view name,
                    NonFinite non_finite = NonFinite::refused);

  bool is_null() const { return std::holds_alternative<Nothing>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  /// Typed reads. `where` names the file and key for the error (Fault::input) when the type differs.
  bool as_bool(std::string_view where) const;
  std::int64_t as_int(std::string_view where) const;
  double as_number(std::string_view where) const;
  const std::string& as_string(std::string_view where) const;
  const Array& as_array(std::string_view where) const;
  const Object& as_object(std::string_view where) const;

  /// Member access on objects; `find` returns nullptr when absent, `at` throws naming `where` and key.
  const Json* find(std::string_view key) const;
  const Json& at(std::string_view key, std::string_view where) const;
  /// Sets or replaces a member (null becomes an object).
  Json& set(std::string_view key, Json value);
  /// Appends to an array (null becomes an array).
  Json& push(Json value);

  /// indent < 0: one line; otherwise pretty-printed.
  std::string dump(int indent = -1) const;

 private:
  std::variant<Nothing, bool, std::int64_t, double, std::string, Array, Object> value_{};
};

/// `text` as a JSON string literal with its quotes.
std::string json_quote(std::string_view text);

/// The fewest digits that read back as the same double (std::to_chars); "null" when not finite.
std::string json_number(double x);

}  // namespace notch
