// Products of double matrices, for what factors and corrects matrices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/kernels/blas.h"

namespace notch::quant {

/// A [M, K] times B [K, N], or Bᵀ of B [N, K].
inline std::vector<double> times(std::span<const double> A, std::span<const double> B,
                                 std::int64_t M, std::int64_t N, std::int64_t K,
                                 bool transposed = false) {
  std::vector<double> out(static_cast<std::size_t>(M * N));
  kernels::gemm(out, A, B, M, N, K, {.trans_b = transposed});
  return out;
}

}  // namespace notch::quant
