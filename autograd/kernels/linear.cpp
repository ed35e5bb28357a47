// Linear layer and symmetric rank-k update on top of gemm's tiles. See blas.h.
#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/elementwise.h"

namespace notch::kernels {

void linear_forward(std::span<real> out, std::span<const real> x, std::span<const real> w,
                    std::span<const real> bias, std::int64_t M, std::int64_t N, std::int64_t K) {
  if (!bias.empty()) {
    check(std::ssize(out) >= M * N && std::ssize(bias) == N, "linear", "out has ", out.size(),
          " values and bias ", bias.size(), "; M = ", M, ", N = ", N);
    parallel_for(M,
                 [&](std::int64_t r) { std::copy(bias.begin(), bias.end(), out.begin() + r * N); });
  }
  gemm(out, x, w, M, N, K, {.trans_b = true, .accumulate = !bias.empty()});
}

void linear_backward(std::span<real> dx, std::span<real> dw, std::span<real> dbias,
                     std::span<const real> dout, std::span<const real> x, std::span<const real> w,
                     std::int64_t M, std::int64_t N, std::int64_t K) {
  // out = x wᵀ + bias
  if (!dx.empty()) gemm(dx, dout, w, M, K, N, {.accumulate = true});
  if (!dw.empty()) gemm(dw, dout, x, N, K, M, {.trans_a = true, .accumulate = true});
  if (!dbias.empty()) bias_backward(dbias, dout, M, N);
}

}  // namespace notch::kernels
