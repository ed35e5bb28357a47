// Which weights of a matrix are kept: what pruning decides, training holds and files store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace notch::quant {

/// One flag per weight, [rows, cols] row-major: 1 is kept, 0 is pruned, and then the weight is 0.
using Keep = std::vector<std::uint8_t>;

/// A mask by the name of its parameter.
struct NamedMask {
  std::string name{};
  Keep keep{};
};

}  // namespace notch::quant
