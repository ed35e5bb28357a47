// Our own matrix product: gemm's fast path, and every product of portable arithmetic
// (base/arithmetic.h), in double too.
//
// OpenBLAS, called per tile, packs both operands once per tile; here b is packed once per product,
// by all threads, or read where it lies, `a` always is, and the tiles can be small. Share of the
// FMA peak on two Zen 4 cores, best of many calls in quiet runs: 128 channels and 768 rows, y = x
// Wᵀ 91 to 95 %, dx 95 to 97 % (91 to 93 % with b packed), dW 94 to 97 % (OpenBLAS 79 to 86 %); 384
// and 768 channels, y and dx 87 to 96 % (OpenBLAS 80 to 95 %), but dW, forced through this kernel,
// 58 to 88 % (OpenBLAS 81 to 88 %). An earlier measurement on another AVX-512 machine had this
// kernel at 0.75 to 0.95 of OpenBLAS for large b; nothing but Zen 4 was measured since.
#pragma once

#include <cstdint>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [M, N] = a · b, starting from zero, from out (accumulate) or from bias [N] in every row.
/// a is [M, K], with trans_a [K, M]; b is [K, N], with trans_b [N, K].
template <class Real>
struct MatmulOf {
  Real* out = nullptr;
  const Real* a = nullptr;
  const Real* b = nullptr;
  const Real* bias = nullptr;
  std::int64_t M = 0, N = 0, K = 0;
  std::int64_t ld_out = 0, lda = 0, ldb = 0;
  bool trans_a = false, trans_b = false, accumulate = false;
};
using Matmul = MatmulOf<real>;

/// Parallel. Every element is a chain of multiply-adds over ascending k, from what it starts from, so
/// neither tiles nor the number of rows change its bits. They are fused wherever the CPU has FMA, and
/// in portable arithmetic everywhere: then the bits are those of any x86-64 and of plain C++. What is
/// packed of b goes into a buffer of the calling thread that is kept for the next call.
void matmul(const MatmulOf<float>& m);
void matmul(const MatmulOf<double>& m);

/// Whether matmul beats OpenBLAS here: enough rows to repay the packing, AVX2 or better, and b
/// (with trans_a: the output) at most 3/4 MB; without trans_a any size on Zen 4, the only CPU where
/// it was measured to win there.
bool matmul_pays(std::int64_t M, std::int64_t N, std::int64_t K, bool trans_a = false);

}  // namespace notch::kernels
