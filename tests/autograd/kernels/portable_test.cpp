// Portable arithmetic: one order of additions, written out here once more, and the same bits from
// every variant of every kernel of training, whatever the number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "autograd/base/arithmetic.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/activation.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/self_test.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace portable_test {

using namespace notch;
using namespace notch::test;

std::vector<Isa> variants() {
  std::vector<Isa> all{Isa::portable};
  if (best_isa() >= Isa::avx2) all.push_back(Isa::avx2);
  if (best_isa() >= Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

template <class T>
std::vector<T> numbers(Index n, std::uint64_t seed) {
  const Reals x = normals(n, seed);
  return {x.begin(), x.end()};
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// out = start + Σ_k a b by fused multiply-adds over ascending k: blas.h's portable product.
template <class T>
void check_chain(Index M, Index N, Index K) {
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true}) {
      INFO(M << " x " << N << " x " << K << (trans_a ? " a transposed" : "")
             << (trans_b ? " b transposed" : ""));
      const auto a = numbers<T>(M * K, 1), b = numbers<T>(K * N, 2), start = numbers<T>(M * N, 3);
      std::vector<T> expected = start;
      for (Index i = 0; i < M; ++i)
        for (Index j = 0; j < N; ++j) {
          T& sum = expected[static_cast<std::size_t>(i * N + j)];
          for (Index k = 0; k < K; ++k)
            sum = std::fma(a[static_cast<std::size_t>(trans_a ? k * M + i : i * K + k)],
                           b[static_cast<std::size_t>(trans_b ? j * K + k : k * N + j)], sum);
        }
      for (const Isa isa : variants()) {
        const ForcedIsa forced(isa);
        INFO("variant " << static_cast<int>(isa));
        std::vector<T> out = start;
        kernels::gemm(std::span(out), std::span(std::as_const(a)), std::span(std::as_const(b)), M,
                      N, K, {.trans_a = trans_a, .trans_b = trans_b, .accumulate = true});
        CHECK(same_bits(out, expected));
      }
    }
}

TEST_CASE("a portable product is one chain over ascending k") {
  const ScopedArithmetic portable(Arithmetic::portable);
  for (const auto& [M, N, K] : {std::tuple<Index, Index, Index>{1, 1, 1},
                                {5, 70, 33},
                                {67, 33, 300},
                                {9, 40, 2100},      // more than one pass over k
                                {450, 460, 20}}) {  // a large gradient: its operand is copied
    check_chain<float>(M, N, K);
    check_chain<double>(M, N, K);
  }
}

TEST_CASE("every portable variant has the bits of plain C++") {
  const std::vector<KernelTrial> trials = kernels::try_portable_kernels(12, 5);
  CHECK(trials.size() == 7 * (variants().size() - 1));
  for (const KernelTrial& t : trials) {
    INFO(t.kernel << ": " << t.difference);
    CHECK(t.products == 12);
    CHECK(t.difference.empty());
  }
  CHECK(arithmetic() == Arithmetic::native);
  CHECK(isa() == best_isa());
}

TEST_CASE("any number of threads gives the bits of a portable product") {
  const ScopedArithmetic portable(Arithmetic::portable);
  const Index M = 300, N = 200, K = 150;
  const Reals x = normals(M * K, 1), w = normals(N * K, 2), dy = normals(M * N, 3);
  std::vector<Reals> results;
  const int before = threads();
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    Reals y(static_cast<std::size_t>(M * N)), dx(x.size()), dw(w.size());
    kernels::linear_forward(y, x, w, {}, M, N, K);
    kernels::linear_backward(dx, dw, {}, dy, x, w, M, N, K);
    for (const Reals& part : {dx, dw}) y.insert(y.end(), part.begin(), part.end());
    results.push_back(y);
  }
  set_threads(before);
  CHECK(same_bits(results[0], results[1]));
  CHECK(same_bits(results[0], results[2]));
}

TEST_CASE("native arithmetic contracts, portable does not") {
#if NOTCH_MANY_CODES && !defined(__clang__)
  if (best_isa() == Isa::portable) return;
  const Reals x = normals(1000, 1);
  const auto gelu = [&](Arithmetic a, Isa isa) {
    const ScopedArithmetic used(a);
    const ForcedIsa forced(isa);
    Reals y(x.size());
    kernels::gelu_forward(y, x, kernels::Gelu::exact);
    return y;
  };
  const Reals plain = gelu(Arithmetic::native, Isa::portable);
  CHECK_FALSE(same_bits(gelu(Arithmetic::native, best_isa()), plain));
  CHECK(same_bits(gelu(Arithmetic::portable, best_isa()), plain));
#endif
}

TEST_CASE("a portable factorization multiplies back") {
  const ScopedArithmetic portable(Arithmetic::portable);
  const Index N = 600;  // tiles of 256 with a rest
  const auto x = numbers<double>(N * N, 4);
  std::vector<double> a(x.size());
  kernels::gemm(std::span(a), std::span(std::as_const(x)), std::span(std::as_const(x)), N, N, N,
                {.trans_b = true});
  const auto at = [&](std::vector<double>& m, Index r, Index c) -> double& {
    return m[static_cast<std::size_t>(r * N + c)];
  };
  for (Index i = 0; i < N; ++i) {
    at(a, i, i) += 10;
    for (Index j = i + 1; j < N; ++j)
      at(a, i, j) = 77;  // above the diagonal: not read, not written
  }
  std::vector<double> l = a;
  REQUIRE(kernels::cholesky(l, N) == 0);
  double worst = 0, most = 0;
  for (Index r = 0; r < N; ++r) {
    for (Index c = 0; c <= r; ++c) {
      double sum = 0;
      for (Index k = 0; k <= c; ++k) sum += at(l, r, k) * at(l, c, k);
      worst = std::max(worst, std::fabs(sum - at(a, r, c)));
      most = std::max(most, std::fabs(at(a, r, c)));
    }
    for (Index c = r + 1; c < N; ++c) REQUIRE(at(l, r, c) == 77);
  }
  // Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.3: (N + 1) u |L||L|ᵀ.
  CHECK(worst <= (N + 1) * 0x1p-53 * most);

  const Index rows = 3;
  const auto wanted = numbers<double>(rows * N, 5);
  std::vector<double> b(wanted.size());
  for (Index m = 0; m < rows; ++m)
    for (Index c = 0; c < N; ++c)
      for (Index k = 0; k < N; ++k)
        b[static_cast<std::size_t>(m * N + c)] +=
            wanted[static_cast<std::size_t>(m * N + k)] * at(a, std::max(k, c), std::min(k, c));
  kernels::cholesky_solve_serial(b, l, rows, N);
  for (std::size_t i = 0; i < b.size(); ++i) REQUIRE(b[i] == Approx(wanted[i]).margin(1e-8));

  std::vector<double> indefinite = a;
  at(indefinite, 400, 400) = -1;
  CHECK(kernels::cholesky(indefinite, N) == 401);
}

}  // namespace portable_test
