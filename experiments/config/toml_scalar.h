// Numbers and booleans of the TOML subset: the parts that need no place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace notch::experiments::toml {

/// A number or boolean, or why the token is neither.
struct Scalar {
  std::variant<bool, std::int64_t, double> value{};
  std::string error{};  ///< empty when `value` holds
  std::string hint{};
};

/// Reads a bare token such as `1_000`, `-0x1f` (an error: no sign on hex), `1e-3`, `true`.
Scalar read_scalar(std::string_view token);

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace notch::experiments::toml
