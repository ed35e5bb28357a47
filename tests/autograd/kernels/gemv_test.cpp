#include "autograd/kernels/gemv.h"

#include <algorithm>

#include "autograd/kernels/blas.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace gemv_test {

using namespace notch;
using namespace notch::test;

/// The documented order, element by element: 16 lanes of fused multiply-adds, folded in halves.
real documented_sum(const real* x, const real* w, std::int64_t K) {
  real lanes[16] = {};
  for (std::int64_t k = 0; k < K; ++k) lanes[k % 16] = std::fma(x[k], w[k], lanes[k % 16]);
  for (std::int64_t width = 8; width > 0; width /= 2)
    for (std::int64_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

TEST_CASE("gemv adds in the documented order for every number of rows") {
  for (const std::int64_t K : {1, 15, 16, 17, 33, 160, 768}) {
    for (const std::int64_t N : {1, 3, 4, 9, 400}) {
      const Reals w = normals(N * K, 1), bias = normals(N, 2);
      for (std::int64_t M = 1; M <= kernels::kGemvRows + 1; ++M) {
        const Reals x = normals(M * K, 3);
        Reals out(static_cast<std::size_t>(M * N), real{9});
        kernels::gemv(out, x, w, bias, M, N, K);
        bool same = true;
        for (std::int64_t m = 0; m < M; ++m)
          for (std::int64_t n = 0; n < N; ++n)
            same &= out[static_cast<std::size_t>(m * N + n)] ==
                    documented_sum(x.data() + m * K, w.data() + n * K, K) +
                        bias[static_cast<std::size_t>(n)];
        CHECK(same);
      }
    }
  }
}

TEST_CASE("a row's result depends on neither other rows nor threads") {
  const std::int64_t M = 7, N = 700, K = 200;
  const Reals x = normals(M * K, 4), w = normals(N * K, 5);
  Reals all(static_cast<std::size_t>(M * N));
  require_same_bits_for_any_thread_count([&] {
    kernels::linear_forward(all, x, w, {}, M, N, K);
    return all;
  });
  for (std::int64_t m = 0; m < M; ++m) {
    Reals one(static_cast<std::size_t>(N));
    kernels::linear_forward(one, std::span(x).subspan(static_cast<std::size_t>(m * K), K), w, {}, 1,
                            N, K);
    CHECK(std::equal(one.begin(), one.end(), all.begin() + m * N));
  }
}

TEST_CASE("gemv refuses sizes that do not fit and takes K = 0") {
  Reals out(4), x(4), w(4), bias{1, 2};
  CHECK(error_of([&] { kernels::gemv(out, x, w, {}, 1, 2, 3); }).fault == Fault::usage);
  CHECK(error_of([&] { kernels::gemv(out, x, w, bias, 1, 1, 4); }).fault == Fault::usage);
  kernels::gemv(out, {}, {}, bias, 2, 2, 0);
  CHECK(out == Reals{1, 2, 1, 2});
}

}  // namespace gemv_test
