// How the operands of a step's matrix products count.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace notch::kernels {

enum class Precision : std::uint8_t {
  full,  ///< as they are
  bf16,  ///< rounded to bfloat16, summed in float (bf16_matmul.h)
};
constexpr auto names(Precision) { return std::array<std::string_view, 2>{"fp32", "bf16"}; }

}  // namespace notch::kernels
