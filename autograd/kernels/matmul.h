// Our own matrix product in `real`: gemm's fast path.
//
// OpenBLAS, called per tile, packs both operands once per tile; here b is packed once per product,
// by all threads, or read where it lies, `a` always is, and the tiles can be small. Share of the
// FMA peak that two Zen 4 cores reach, ours and OpenBLAS 0.3.21's: 128 channels, y = x Wᵀ 92 to 95
// and 83 to 88 %, dx 95 and 83 %, dW 95 and 79 to 86 %; 384 and 768 channels, y and dx 88 to 93 and
// 80 to 88 %, but dW 70 to 82 and 83 to 87 %. OpenBLAS has no AVX-512 kernel for AMD and runs
// Intel's; on an Intel machine it was ahead (ours 0.75 to 0.95 of it) where b is no longer small.
#pragma once

#include <cstdint>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [M, N] = a · b, starting from zero, from out (accumulate) or from bias [N] in every row.
/// a is [M, K], with trans_a [K, M]; b is [K, N], with trans_b [N, K].
struct Matmul {
  real* out = nullptr;
  const real* a = nullptr;
  const real* b = nullptr;
  const real* bias = nullptr;
  std::int64_t M = 0, N = 0, K = 0;
  std::int64_t ld_out = 0, lda = 0, ldb = 0;
  bool trans_a = false, trans_b = false, accumulate = false;
};

/// Parallel. Every element is a chain of multiply-adds over ascending k, so neither tiles nor the
/// number of rows change its bits. What is packed of b goes into a buffer of the calling thread
/// that is kept for the next call.
void matmul(const Matmul& m);

/// Whether matmul beats OpenBLAS here: enough rows to repay the packing, AVX2 or better, and b
/// (with trans_a: the output) at most 3/4 MB; without trans_a any size on an AMD processor with
/// AVX-512.
bool matmul_pays(std::int64_t M, std::int64_t N, std::int64_t K, bool trans_a = false);

}  // namespace notch::kernels
