// Products of small matrices that are already in cache, for one thread: what attention does per
// head.
//
// A call of OpenBLAS per block of 64 queries packs both operands again: attention built on that
// took 10.8 + 20.7 ms (forward + backward, 8 x 6 heads of 256 x 64, one AVX-512 core) against 7.3
// + 15.2 ms with this, where the caller packs once per head and a group of rows multiplies only the
// keys it may see.
#pragma once

#include <cstdint>

#include "autograd/kernels/register_tile.h"

namespace notch::kernels {

/// out [M, N] = a · b, or += with `accumulate`; M a multiple of kPanelRows, N of kPanelCols.
/// a(i, k) = a[i · a_row + k · a_k], so that a transposed operand costs nothing; b and out are
/// row-major with row distances ldb and ld_out. Three limits describe a causal mask by groups of
/// rows: the group that starts at row i multiplies k in [k_begin + i, k_end + i + kPanelRows), cut
/// to [0, K), and computes columns up to the panel that holds n_end + i + kPanelRows - 1. Columns
/// beyond are left as they are.
struct PanelProduct {
  real* out = nullptr;
  const real* a = nullptr;
  const real* b = nullptr;
  std::int64_t M = 0, N = 0, K = 0;
  std::int64_t ld_out = 0, a_row = 0, a_k = 0, ldb = 0;
  bool accumulate = false;
  std::int64_t k_begin = kNoLimit * -1;
  std::int64_t k_end = kNoLimit;
  std::int64_t n_end = kNoLimit;
  static constexpr std::int64_t kNoLimit = std::int64_t{1} << 40;
};
void panel_product(const PanelProduct& product);

/// out [cols, rows] = xᵀ for x [rows, cols]; row distances ld_out and ldx.
void transpose(float* out, const float* x, std::int64_t rows, std::int64_t cols,
               std::int64_t ld_out, std::int64_t ldx);
void transpose(double* out, const double* x, std::int64_t rows, std::int64_t cols,
               std::int64_t ld_out, std::int64_t ldx);

}  // namespace notch::kernels
