// How the operands of a step's matrix products count.
#pragma once

#include <cstdint>

namespace notch::kernels {

enum class Precision : std::uint8_t {
  full,  ///< as they are
  bf16,  ///< rounded to bfloat16, summed in float (bf16_matmul.h)
};

}  // namespace notch::kernels
