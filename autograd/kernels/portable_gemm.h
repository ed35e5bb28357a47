// The product of portable arithmetic (base/arithmetic.h): gemm's options, matmul's order.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/kernels/blas.h"
#include "autograd/kernels/matmul.h"

namespace notch::kernels {

/// blas.h's gemm with row distances and spans resolved. alpha, which matmul has not, multiplies a copy
/// of a.
template <class Real>
void portable_gemm(Real* out, const Real* a, const Real* b, std::int64_t M, std::int64_t N,
                   std::int64_t K, const GemmOptions& o) {
  std::vector<Real> scaled;
  std::int64_t lda = o.lda;
  if (o.alpha != 1) {
    const std::int64_t rows = o.trans_a ? K : M, cols = o.trans_a ? M : K;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        scaled.push_back(static_cast<Real>(o.alpha) * a[r * lda + c]);
    a = scaled.data();
    lda = cols;
  }
  MatmulOf<Real> m;
  m.out = out, m.a = a, m.b = b;
  m.M = M, m.N = N, m.K = K;
  m.ld_out = o.ld_out, m.lda = lda, m.ldb = o.ldb;
  m.trans_a = o.trans_a, m.trans_b = o.trans_b, m.accumulate = o.accumulate;
  matmul(m);
}

}  // namespace notch::kernels
