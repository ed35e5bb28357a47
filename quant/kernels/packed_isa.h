// The variants of packed_gemv, one translation unit each. See packed.h.
#pragma once

#include "quant/kernels/packed.h"

namespace notch::quant {

/// Scales are converted to float for this many units at a time.
inline constexpr std::int64_t kUnitsAtOnce = 256;

/// Lanes, and columns of a vector.
inline constexpr std::int64_t kPackedLanes = 16;

struct PackedCall {
  float* out = nullptr;
  std::int64_t ld_out = 0;
  const float* x = nullptr;
  std::int64_t ld_x = 0, M = 0;
  const PackedRows* w = nullptr;
  const float* bias = nullptr;
};

/// Scales of units [first, first + n) of a row as floats.
void unit_scales(float* out, const PackedRows& w, std::int64_t row, std::int64_t first,
                 std::int64_t n);

/// The levels of a unit of a row; null where there are none.
inline const float* unit_levels(const PackedRows& w, std::int64_t row, std::int64_t unit) {
  return w.level_step == 0 ? w.levels : w.levels + (row * (w.cols / w.unit) + unit) * w.level_step;
}

/// dequantize_row.
void packed_unpack_avx2(float* out, const PackedRows& w, std::int64_t row);
void packed_unpack_avx512(float* out, const PackedRows& w, std::int64_t row);

void packed_rows_portable(const PackedCall& call, std::int64_t begin, std::int64_t end);
void packed_rows_avx2(const PackedCall& call, std::int64_t begin, std::int64_t end);
void packed_rows_avx512(const PackedCall& call, std::int64_t begin, std::int64_t end);

}  // namespace notch::quant
