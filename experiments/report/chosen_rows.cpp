#include "experiments/report/chosen_rows.h"

#include <algorithm>
#include <set>

#include "autograd/base/error.h"
#include "experiments/show/table.h"
#include "quant/methods/plan.h"

namespace notch::experiments {
namespace {

bool is_named(const RowResult& row, std::string_view pattern) {
  return quant::matches(pattern, row.method) || quant::matches(pattern, row.name) ||
         (!row.label.empty() && quant::matches(pattern, row.label));
}

std::vector<std::string> parts_of(std::string_view patterns) {
  std::vector<std::string> parts(1);
  for (const char c : patterns) {
    if (c == ',')
      parts.emplace_back();
    else if (c != ' ')
      parts.back() += c;
  }
  return parts;
}

}  // namespace

std::vector<SeedResults> chosen_rows(std::vector<SeedResults> seeds, std::string_view patterns,
                                     std::string_view where) {
  const SeedResults& first = first_seed(seeds, where);
  std::set<std::string> names{std::string(kBaseRow)};
  for (const std::string& pattern : parts_of(patterns)) {
    bool hit = false;
    for (const RowResult& r : first.rows) {
      if (!is_named(r, pattern)) continue;
      hit = true;
      names.insert(r.name);
      if (!r.control.empty()) names.insert(r.control);
    }
    if (hit) continue;
    std::set<std::string> known;
    for (const RowResult& r : first.rows) known.insert(shown_method(r));
    throw Error({.where = std::string(where),
                 .what = "no row matches",
                 .field = "--methods",
                 .found = pattern,
                 .expected = and_list({known.begin(), known.end()})});
  }
  for (SeedResults& seed : seeds)
    std::erase_if(seed.rows, [&](const RowResult& r) { return !names.contains(r.name); });
  return seeds;
}

}  // namespace notch::experiments
