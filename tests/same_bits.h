// Comparisons by bits: NaN equals itself, 0 is not -0.
#pragma once

#include <cstring>
#include <span>

#include "autograd/base/real.h"

namespace notch::test {

inline bool same_bits(std::span<const real> a, std::span<const real> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace notch::test
