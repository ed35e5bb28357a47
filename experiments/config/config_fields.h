// What a configuration's `visit` says of a field: its name, its help, and what it may hold.
#pragma once

#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace notch::experiments {

/// What a field (or each element of a list) may hold: numbers in a range, or one of some words.
struct Domain {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;  ///< the bound itself is not allowed
  bool high_open = false;
  std::vector<std::string_view> words{};
};

inline Domain at_least(double low) { return {.low = low}; }
inline Domain above(double low) { return {.low = low, .low_open = true}; }
inline Domain between(double low, double high) { return {.low = low, .high = high}; }
inline Domain from_below(double low, double high) {
  return {.low = low, .high = high, .high_open = true};
}
inline Domain inside(double low, double high) {
  return {.low = low, .high = high, .low_open = true, .high_open = true};
}
inline Domain one_of(std::vector<std::string_view> words) { return {.words = std::move(words)}; }

struct Field {
  std::string_view name{};
  std::string_view help{};
  Domain domain{};
};

constexpr double kMaxCount = 2147483647;  // counts are int

}  // namespace notch::experiments
