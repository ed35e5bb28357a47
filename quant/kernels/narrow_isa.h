// The variants of narrow_linear, one translation unit each. See narrow_linear.h.
#pragma once

#include "quant/kernels/narrow_linear.h"

namespace notch::quant {

/// One call of narrow_linear; sizes have been checked.
struct NarrowProduct {
  float* out = nullptr;                // [M, N]
  const std::int8_t* codes = nullptr;  // [M, row_codes]
  const float* scales = nullptr;       // [M]
  const std::int8_t* zeros = nullptr;  // [M]
  const std::int32_t* sums =
      nullptr;  // [M, units]: Σ (x - zx), times qmin if weights have no zero points
  const float* bias = nullptr;  // [N] or null
  NarrowWeights w{};
};

/// Computes rows [row, row + rows) of panels [first, last).
using NarrowBlock = void (*)(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                             std::int64_t first, std::int64_t last);
void narrow_block_portable(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                           std::int64_t first, std::int64_t last);
void narrow_block_avx2(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                       std::int64_t first, std::int64_t last);
void narrow_block_avx_vnni(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                           std::int64_t first, std::int64_t last);
void narrow_block_avx512_vnni(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                              std::int64_t first, std::int64_t last);

}  // namespace notch::quant
