// Enumerations as the words of configurations and files: one array of names per enumeration, in the
// order of its values.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/error.h"

namespace notch::quant {

/// The value whose name is `text`; usage error naming `where`, with a suggestion, for any other.
template <class Enum, std::size_t N>
Enum parse_name(const std::array<std::string_view, N>& names, std::string_view text,
                std::string_view where) {
  std::string all;
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
    all += str(i == 0 ? "" : ", ", names[i]);
  }
  const std::string near = did_you_mean(text, std::vector<std::string>(names.begin(), names.end()));
  throw Error({.fault = Fault::usage,
               .where = std::string(where),
               .what = "unknown name",
               .found = std::string(text),
               .expected = all,
               .hint = near.empty() ? "" : str("did you mean \"", near, "\"?")});
}

}  // namespace notch::quant
