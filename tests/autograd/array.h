// Array: values a test owns, for the graph's leaves to look at.
#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace notch::test {

struct Array {
  Shape shape{};
  std::vector<real> values{};
  Tensor tensor() { return {values.data(), shape}; }
};

inline std::vector<real> copy(std::span<const real> s) { return {s.begin(), s.end()}; }

}  // namespace notch::test
