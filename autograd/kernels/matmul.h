// Our own matrix product in `real` for weights that fit into the second-level cache: gemm's fast
// path.
//
// OpenBLAS, called per tile, packs the shared operand once per tile; here it is packed once per
// product, by all threads, and the tiles can be small. Measured against one undivided call of
// OpenBLAS 0.3.21 (AVX-512): 1.04 to 1.16 times its rate for 128 channels, 1.01 for 384 x 384,
// while tiles of OpenBLAS cost 3 to 15 %. Beyond that size, and for transposed `a`, OpenBLAS is the
// better choice (0.75 to 0.95).
#pragma once

#include <cstdint>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [M, N] = alpha · a [M, K] · b, starting from zero, from out (accumulate) or from bias [N] in
/// every row. b is [K, N], with trans_b [N, K].
struct Matmul {
  real* out = nullptr;
  const real* a = nullptr;
  const real* b = nullptr;
  const real* bias = nullptr;
  std::int64_t M = 0, N = 0, K = 0;
  std::int64_t ld_out = 0, lda = 0, ldb = 0;
  bool trans_b = false, accumulate = false;
  real alpha = 1;
};

/// Parallel. Every element is a chain of multiply-adds over ascending k, so neither tiles nor the
/// number of rows change its bits. b is packed into a buffer of the calling thread that is kept for
/// the next call.
void matmul(const Matmul& m);

/// Whether matmul beats OpenBLAS here: enough rows to repay the packing, b at most 3/4 MB, AVX2 or
/// better.
bool matmul_pays(std::int64_t M, std::int64_t N, std::int64_t K);

}  // namespace notch::kernels
