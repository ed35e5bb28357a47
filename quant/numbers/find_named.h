// Looking up what a parameter has in a list that names parameters: codes or masks.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

namespace notch::quant {

/// The element of `all` with that name; null: it has none.
template <class Named>
const Named* find_named(const std::vector<Named>& all, std::string_view name) {
  const auto at = std::ranges::find(all, name, &Named::name);
  return at == all.end() ? nullptr : &*at;
}
template <class Named>
Named* find_named(std::vector<Named>& all, std::string_view name) {
  const auto at = std::ranges::find(all, name, &Named::name);
  return at == all.end() ? nullptr : &*at;
}

}  // namespace notch::quant
