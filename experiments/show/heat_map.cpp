#include "experiments/show/heat_map.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "experiments/show/svg.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

/// 0 to kTints - 1 over the group's numbers: by the root, as most of them are small.
constexpr int kTints = 7;
std::string tint(const HeatMap& map, const HeatColumn& column, double value) {
  if (column.group.empty() || !std::isfinite(value)) return {};
  double low = value, high = value;
  for (const HeatColumn& c : map.columns) {
    if (c.group != column.group) continue;
    for (const double v : c.values) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  if (column.sign) {  // a cost: gains are no worse than nothing
    low = 0;
    value = std::max(value, 0.0);
  }
  if (!(high > low)) return {};
  const double share =
      column.low_is_bad ? (high - value) / (high - low) : std::sqrt((value - low) / (high - low));
  return str(" class=\"heat", std::min(static_cast<int>(share * kTints), kTints - 1), '"');
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  for (const HeatColumn& c : map.columns) {
    check(c.values.size() == map.rows.size(), "heat map", "column ", c.title, " has ",
          c.values.size(), " values for ", map.rows.size(), " rows; NaN stands for none");
    check(c.decimals >= 0 && c.decimals <= kMostDecimals, "heat map", "column ", c.title, " has ",
          c.decimals, " decimals, not 0 to ", kMostDecimals);
  }
  std::string out = str(
      "<h3>", escaped_markup(map.title), "</h3>\n<p class=\"notes\">", escaped_markup(map.notes),
      "</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"",
      escaped_markup(map.title),
      "\"><table class=\"heat\">\n<tr><th class=\"text\" scope=\"col\">layer</th>");
  for (const HeatColumn& c : map.columns) {
    out += str("<th scope=\"col\">", escaped_markup(c.title), "</th>");
  }
  out += "</tr>\n";
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    out += str("<tr><th class=\"text\" scope=\"row\">", escaped_markup(map.rows[row]), "</th>");
    for (const HeatColumn& c : map.columns) {
      const double v = c.values[row];
      const std::string format = str(c.sign ? "%+." : "%.", c.decimals, "f");
      out += str("<td", tint(map, c, v), '>', std::isfinite(v) ? printed(format.c_str(), v) : "-",
                 "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

}  // namespace notch::experiments
