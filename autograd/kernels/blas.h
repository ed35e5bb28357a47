// Matrix products and factorizations. blas.cpp is the only file that knows OpenBLAS.
//
// In portable arithmetic (base/arithmetic.h) none of this is OpenBLAS's: products are matmul.h's, the
// factorization is triangular.h's.
//
// All matrices are row-major. `gemm` cuts the output into tiles that depend on the shape only and
// runs each tile as one single-threaded OpenBLAS call on our own pool: the bits of a result cannot
// depend on the number of threads. OpenBLAS is pinned to one thread in every thread that calls it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "autograd/base/real.h"
#include "autograd/kernels/precision.h"

namespace notch::kernels {

struct GemmOptions {
  bool trans_a = false;     // a is stored [K, M]
  bool trans_b = false;     // b is stored [N, K]
  bool accumulate = false;  // out += instead of out =
  std::int64_t ld_out = 0;  // distance between rows; 0 means contiguous
  std::int64_t lda = 0;
  std::int64_t ldb = 0;
  double alpha = 1;
  Precision precision = Precision::full;  // bf16: float operands only, alpha 1
};

/// out [M, N] = alpha · a [M, K] · b [K, N]   (+ out with `accumulate`)
/// Linear forward y = x Wᵀ is {.trans_b}, dx += dy W is {.accumulate}, dW += dyᵀ x is {.trans_a,
/// .accumulate}. K = 0 gives zeros. Usage error when a span is shorter than its shape. Parallel.
void gemm(std::span<float> out, std::span<const float> a, std::span<const float> b, std::int64_t M,
          std::int64_t N, std::int64_t K, const GemmOptions& options = {});
void gemm(std::span<double> out, std::span<const double> a, std::span<const double> b,
          std::int64_t M, std::int64_t N, std::int64_t K, const GemmOptions& options = {});

/// The same in one call of OpenBLAS in this thread, for use inside a tile of a parallel_for.
void gemm_serial(std::span<float> out, std::span<const float> a, std::span<const float> b,
                 std::int64_t M, std::int64_t N, std::int64_t K, const GemmOptions& options = {});
void gemm_serial(std::span<double> out, std::span<const double> a, std::span<const double> b,
                 std::int64_t M, std::int64_t N, std::int64_t K, const GemmOptions& options = {});

/// out [M, N] = x [M, K] · w [N, K]ᵀ + bias [N]; an empty bias is none. The bias costs no extra
/// pass: each tile starts from it. Up to kGemvRows rows go through gemv.h. Parallel.
void linear_forward(std::span<real> out, std::span<const real> x, std::span<const real> w,
                    std::span<const real> bias, std::int64_t M, std::int64_t N, std::int64_t K,
                    Precision precision = Precision::full);

/// dx [M, K] += dout · w;  dw [N, K] += doutᵀ · x;  dbias [N] += column sums of dout.
/// Empty gradients are skipped; a fresh one is overwritten instead. Parallel.
struct FreshGradients {
  bool dx = false, dw = false;
};
void linear_backward(std::span<real> dx, std::span<real> dw, std::span<real> dbias,
                     std::span<const real> dout, std::span<const real> x, std::span<const real> w,
                     std::int64_t M, std::int64_t N, std::int64_t K, FreshGradients fresh = {},
                     Precision precision = Precision::full);

/// Cholesky in place: a = L Lᵀ, [N, N] row-major; reads and writes the lower triangle only.
/// Returns 0, or i > 0 when the leading minor of order i is not positive definite. Parallel.
int cholesky(std::span<double> a, std::int64_t N);

/// b [M, N] = b (L Lᵀ)⁻¹ for the lower triangle L [N, N] of cholesky: every row is a right-hand
/// side. In this thread, for use inside a tile of a parallel_for.
void cholesky_solve_serial(std::span<double> b, std::span<const double> l, std::int64_t M,
                           std::int64_t N);

struct BlasInfo {
  std::string config;    // OpenBLAS's own description with its version
  std::string corename;  // kernel set chosen at run time, for example "SkylakeX"
  std::string parallel;  // "sequential", "pthread" or "openmp"
  int threads = 0;       // per call; 1 unless the pin failed
};
BlasInfo blas_info();

/// Pins OpenBLAS to one thread for the calling thread; every function above does this by itself.
void pin_blas();

}  // namespace notch::kernels
