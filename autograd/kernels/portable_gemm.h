// The product of portable arithmetic (base/arithmetic.h): gemm's options, matmul's order.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/kernels/blas.h"
#include "autograd/kernels/matmul.h"

namespace notch::kernels {

/// The same product for matmul.h, which has no alpha; of options whose row distances are resolved.
template <class Real>
MatmulOf<Real> matmul_of(Real* out, const Real* a, const Real* b, std::int64_t M, std::int64_t N,
                         std::int64_t K, const GemmOptions& o) {
  return {.out = out,
          .a = a,
          .b = b,
          .M = M,
          .N = N,
          .K = K,
          .ld_out = o.ld_out,
          .lda = o.lda,
          .ldb = o.ldb,
          .trans_a = o.trans_a,
          .trans_b = o.trans_b,
          .accumulate = o.accumulate};
}

/// blas.h's gemm with row distances and spans resolved. alpha, which matmul has not, multiplies a copy
/// of a.
template <class Real>
void portable_gemm(Real* out, const Real* a, const Real* b, std::int64_t M, std::int64_t N,
                   std::int64_t K, const GemmOptions& o) {
  std::vector<Real> scaled;
  MatmulOf<Real> m = matmul_of(out, a, b, M, N, K, o);
  if (o.alpha != 1) {
    const std::int64_t rows = o.trans_a ? K : M, cols = o.trans_a ? M : K;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        scaled.push_back(static_cast<Real>(o.alpha) * a[r * o.lda + c]);
    m.a = scaled.data();
    m.lda = cols;
  }
  matmul(m);
}

}  // namespace notch::kernels
