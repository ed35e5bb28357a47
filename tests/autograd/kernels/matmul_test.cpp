#include "autograd/kernels/matmul.h"

#include "autograd/kernels/panel.h"
#include "autograd/kernels/reference.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace matmul_test {

using namespace notch;
using namespace notch::test;
namespace ref = notch::kernels::reference;

TEST_CASE("our own product equals the naive one at edges and when deep") {
  struct Shape {
    std::int64_t M, N, K;
  };
  for (const Shape& s : {Shape{1, 1, 1}, Shape{8, 32, 256}, Shape{67, 33, 300},
                         Shape{130, 100, 520}, Shape{70, 512, 400}, Shape{9, 1030, 2100}})
    for (bool trans_a : {false, true})
      for (bool trans_b : {false, true})
        for (bool accumulate : {false, true}) {
          INFO(s.M << " x " << s.N << " x " << s.K << (trans_a ? " a transposed" : "")
                   << (trans_b ? " b transposed" : "") << (accumulate ? " accumulated" : ""));
          const Reals a = normals(s.M * s.K, 1), b = normals(s.N * s.K, 2), bias = normals(s.N, 3);
          Reals out(static_cast<std::size_t>(s.M * s.N),
                    accumulate ? real{5} : static_cast<real>(NAN));
          kernels::matmul({.out = out.data(),
                           .a = a.data(),
                           .b = b.data(),
                           .bias = bias.data(),
                           .M = s.M,
                           .N = s.N,
                           .K = s.K,
                           .ld_out = s.N,
                           .lda = trans_a ? s.M : s.K,
                           .ldb = trans_b ? s.K : s.N,
                           .trans_a = trans_a,
                           .trans_b = trans_b,
                           .accumulate = accumulate});
          ref::Values expected = ref::gemm(a, b, s.M, s.N, s.K, trans_a, trans_b);
          for (std::int64_t i = 0; i < s.M * s.N; ++i)
            ref::at(expected, i) += accumulate ? 5 : ref::at(bias, i % s.N);
          CHECK(worst_error(out, expected, 10) < static_cast<double>(s.K) * kEpsilon);
        }
}

TEST_CASE("a row of our own product has the same bits in any company") {
  const std::int64_t N = 70, K = 300;
  const Reals a = normals(200 * K, 4), b = normals(N * K, 5);
  const auto rows = [&](std::int64_t M) {
    Reals out(static_cast<std::size_t>(M * N));
    kernels::matmul({.out = out.data(),
                     .a = a.data(),
                     .b = b.data(),
                     .M = M,
                     .N = N,
                     .K = K,
                     .ld_out = N,
                     .lda = K,
                     .ldb = K,
                     .trans_b = true});
    return out;
  };
  const Reals many = rows(200);
  for (std::int64_t M : {1, 7, 64, 133}) {
    const Reals few = rows(M);
    CHECK(std::equal(few.begin(), few.end(), many.begin()));
  }
}

TEST_CASE("a panel product keeps to the limits of its groups of rows") {
  const std::int64_t M = 16, N = 64, K = 40;
  const Reals a = normals(M * K, 6), b = normals(K * N, 7);
  Reals out(static_cast<std::size_t>(M * N), real{9});
  // Rows 0 to 7 multiply k in [0, 16) and stop after column 31, rows 8 to 15 k in [8, 24) and
  // all 64.
  kernels::panel_product({.out = out.data(),
                          .a = a.data(),
                          .b = b.data(),
                          .M = M,
                          .N = N,
                          .K = K,
                          .ld_out = N,
                          .a_row = K,
                          .a_k = 1,
                          .ldb = N,
                          .k_begin = 0,
                          .k_end = 8,
                          .n_end = 24});
  for (std::int64_t m = 0; m < M; ++m)
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t group = m / 8 * 8;
      double expected = 0;
      for (std::int64_t k = group; k < group + 16; ++k)
        expected += ref::at(a, m * K + k) * ref::at(b, k * N + n);
      if (n >= 32 && group == 0) expected = 9;  // beyond the first group's last panel
      CHECK(out[static_cast<std::size_t>(m * N + n)] == Approx(expected).margin(1e-5));
    }
}

TEST_CASE("transpose turns any shape, edges included") {
  for (std::int64_t rows : {1, 4, 7, 32})
    for (std::int64_t cols : {1, 5, 8, 30}) {
      const Reals x = normals(rows * 40, 8);
      Reals out(static_cast<std::size_t>(cols * 33), real{2});
      kernels::transpose(out.data(), x.data(), rows, cols, 33, 40);
      bool same = true;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c)
          same = same && out[static_cast<std::size_t>(c * 33 + r)] ==
                             x[static_cast<std::size_t>(r * 40 + c)];
      CHECK(same);
    }
}

}  // namespace matmul_test
