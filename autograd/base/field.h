// Field: what a struct of options says of a member in its `visit`: its name, its help, and what it
// may hold.
//
//   struct GptqOptions {
//     double damp = 0.01;
//     template <class Self, class V>
//     static void visit(Self& self, V& v) {
//       v(self.damp, {"damp", "times the mean of the Hessian's diagonal", between(0, 1)});
//     }
//   };
//
// Whatever reads, prints, checks or explains options walks `visit`, so an option is one member and
// one line, beside the code that uses it. Members are bool, int, std::int64_t, double, std::string,
// an enumeration with names (autograd/base/names.h), or a vector of such or of structs with a visit.
#pragma once

#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace notch {

/// What a field (or each element of a list) may hold: numbers in a range, or one of some words.
struct Domain {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;  ///< the bound itself is not allowed
  bool high_open = false;
  std::vector<std::string_view> words{};  ///< an enumeration's are its names
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
  bool of_rows = false;  ///< a section that single rows of a table may set
};

constexpr double kMaxCount = 2147483647;  // counts are int

}  // namespace notch
