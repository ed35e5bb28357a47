// Heat map: a table of numbers whose cells are tinted, so that it is seen at a glance and read in
// full; the numbers are its text alternative.
#pragma once

#include <string>
#include <vector>

namespace notch::experiments {

/// A table whose cells are tinted by their numbers, each group of columns by itself.
struct HeatColumn {
  std::string title{};
  std::string group{};  ///< columns with the same group share a scale of tints; "": not tinted
  int decimals = 1;
  bool sign = false;
  bool low_is_bad = false;
  std::vector<double> values{};  ///< a row each; NaN: none
};
struct HeatMap {
  std::string title{}, notes{};
  std::vector<std::string> rows{};
  std::vector<HeatColumn> columns{};
};

/// HTML: heading, notes and table; tints are the classes heat0, heat1, … of the page.
std::string heat_map(const HeatMap& map);

}  // namespace notch::experiments
