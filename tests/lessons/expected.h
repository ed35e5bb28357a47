// What the lessons print, derived in another way: by hand, from a closed form, by another program
// named beside the value, or by a few lines of double precision here. Never copied from a lesson.
//
// One table per lesson, expected/NN_name.h, each row with its derivation as a comment. A number that
// a lesson prints and no row names fails the test, and so does a row that no lesson prints.
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace notch::test {

/// The claim of that key lies in [low, high], or is `text`.
struct Expected {
  std::string key{};
  double low = 0, high = 0;
  std::string text{};
};

inline Expected exactly(std::string key, double value) { return {std::move(key), value, value}; }
inline Expected near(std::string key, double value, double tolerance) {
  return {std::move(key), value - tolerance, value + tolerance};
}
/// A value computed in float: equal to a few units in the last place.
inline Expected single(std::string key, double value) {
  return near(std::move(key), value, 1e-6 * std::fabs(value));
}
inline Expected between(std::string key, double low, double high) {
  return {std::move(key), low, high};
}
inline Expected text(std::string key, std::string value) {
  return {.key = std::move(key), .text = std::move(value)};
}
/// key.0, key.1, … exactly.
inline std::vector<Expected> each(std::string_view key, const std::vector<double>& values) {
  std::vector<Expected> all;
  for (std::size_t i = 0; i < values.size(); ++i) {
    all.push_back(exactly(std::string(key) + "." + std::to_string(i), values[i]));
  }
  return all;
}

/// Joins rows and lists of rows.
class Table {
 public:
  Table& operator<<(Expected row) {
    rows_.push_back(std::move(row));
    return *this;
  }
  Table& operator<<(const std::vector<Expected>& rows) {
    rows_.insert(rows_.end(), rows.begin(), rows.end());
    return *this;
  }
  const std::vector<Expected>& rows() const { return rows_; }

 private:
  std::vector<Expected> rows_;
};

}  // namespace notch::test
