#include "autograd/kernels/blas.h"

#include <cmath>

#include "autograd/kernels/reference.h"
#include "autograd/kernels/syrk.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace blas_test {

using namespace notch;
using namespace notch::test;
namespace ref = notch::kernels::reference;

/// The bound for a sum of K products, whatever its order: (K + 2) · ε · Σ|a||b|, here over all
/// elements.
double product_bound(const Reals& a, const Reals& b, std::int64_t M, std::int64_t N, std::int64_t K,
                     bool trans_a, bool trans_b) {
  Reals abs_a = a, abs_b = b;
  for (real& v : abs_a) v = std::fabs(v);
  for (real& v : abs_b) v = std::fabs(v);
  double largest = 0;
  for (double v : ref::gemm(abs_a, abs_b, M, N, K, trans_a, trans_b))
    largest = std::max(largest, v);
  return static_cast<double>(K + 2) * kEpsilon * largest;
}

TEST_CASE("gemm equals the naive product for transposes and odd sizes") {
  struct Shape {
    std::int64_t M, N, K;
  };
  for (const Shape& s :
       {Shape{1, 1, 1}, Shape{3, 5, 7}, Shape{65, 130, 33}, Shape{1, 300, 64}, Shape{300, 1, 64},
        Shape{130, 70, 129}, Shape{1030, 20, 60}, Shape{30, 4100, 11}})
    for (int kind = 0; kind < 4; ++kind) {
      const bool trans_a = kind & 1, trans_b = kind & 2;
      INFO(s.M << " x " << s.N << " x " << s.K << ", transpositions " << trans_a << trans_b);
      const Reals a = normals(s.M * s.K, 1), b = normals(s.N * s.K, 2);
      Reals out(static_cast<std::size_t>(s.M * s.N), static_cast<real>(NAN));
      kernels::gemm(out, a, b, s.M, s.N, s.K, {.trans_a = trans_a, .trans_b = trans_b});
      ref::Values expected = ref::gemm(a, b, s.M, s.N, s.K, trans_a, trans_b);
      const double bound = product_bound(a, b, s.M, s.N, s.K, trans_a, trans_b);
      CHECK(worst_error(out, expected, 1e30) * 1e30 <= bound);

      kernels::gemm(out, a, b, s.M, s.N, s.K,
                    {.trans_a = trans_a, .trans_b = trans_b, .accumulate = true, .alpha = -0.5});
      for (double& v : expected) v *= 0.5;
      CHECK(worst_error(out, expected, 1e30) * 1e30 <= 2 * bound);
    }
}

TEST_CASE("gemm inside larger matrices touches nothing else") {
  const std::int64_t M = 9, N = 6, K = 5, ld = 11;
  const Reals a = normals(M * ld, 3), b = normals(N * ld, 4);
  Reals dense_a, dense_b;
  for (std::int64_t r = 0; r < M; ++r)
    for (std::int64_t k = 0; k < K; ++k) dense_a.push_back(a[static_cast<std::size_t>(r * ld + k)]);
  for (std::int64_t r = 0; r < N; ++r)
    for (std::int64_t k = 0; k < K; ++k) dense_b.push_back(b[static_cast<std::size_t>(r * ld + k)]);
  const ref::Values expected = ref::gemm(dense_a, dense_b, M, N, K, false, true);
  for (bool serial : {false, true}) {
    Reals out(static_cast<std::size_t>(M * ld), real{9});
    const kernels::GemmOptions options{.trans_b = true, .ld_out = ld, .lda = ld, .ldb = ld};
    serial ? kernels::gemm_serial(out, a, b, M, N, K, options)
           : kernels::gemm(out, a, b, M, N, K, options);
    for (std::int64_t r = 0; r < M; ++r)
      for (std::int64_t c = 0; c < ld; ++c)
        CHECK(out[static_cast<std::size_t>(r * ld + c)] ==
              Approx(c < N ? ref::at(expected, r * N + c) : 9).margin(1e-5));
  }
}

TEST_CASE("gemm refuses spans too short and takes empty dimensions") {
  Reals out(6), a(4), b(6);
  CHECK(error_of([&] { kernels::gemm(out, a, b, 2, 3, 2 + 1); }).fault == Fault::usage);
  CHECK(error_of([&] { kernels::gemm_serial(out, a, b, 2, 4, 2); }).fault == Fault::usage);
  out.assign(6, real{5});
  kernels::gemm(out, {}, {}, 2, 3, 0);
  CHECK(out == Reals(6, real{0}));
  kernels::gemm({}, {}, b, 0, 3, 2);
}

TEST_CASE("a product gives the same bits for any number of threads") {
  const std::int64_t M = 1100, N = 150, K = 70;
  const Reals x = normals(M * K, 5), w = normals(N * K, 6), bias = normals(N, 7);
  require_same_bits_for_any_thread_count([&] {
    Reals out(static_cast<std::size_t>(M * N)), dx(x.size()), dw(w.size()), dbias(bias.size());
    kernels::linear_forward(out, x, w, bias, M, N, K);
    kernels::linear_backward(dx, dw, dbias, out, x, w, M, N, K);
    dw.insert(dw.end(), dx.begin(), dx.end());
    dw.insert(dw.end(), dbias.begin(), dbias.end());
    return dw;
  });
}

TEST_CASE("linear adds its bias and accumulates the wanted gradients") {
  const std::int64_t M = 50, N = 12, K = 20;
  const Reals x = normals(M * K, 8), w = normals(N * K, 9), bias = normals(N, 10),
              dout = normals(M * N, 11);
  Reals out(static_cast<std::size_t>(M * N), static_cast<real>(NAN));
  kernels::linear_forward(out, x, w, bias, M, N, K);
  ref::Values expected = ref::gemm(x, w, M, N, K, false, true);
  for (std::int64_t i = 0; i < M * N; ++i) ref::at(expected, i) += ref::at(bias, i % N);
  CHECK(worst_error(out, expected, 1) < 1e-5);
  kernels::linear_forward(out, x, w, {}, M, N, K);
  CHECK(worst_error(out, ref::gemm(x, w, M, N, K, false, true), 1) < 1e-5);

  Reals dx(x.size(), real{1}), dw(w.size(), real{1}), dbias(bias.size(), real{1});
  kernels::linear_backward(dx, dw, dbias, dout, x, w, M, N, K);
  ref::Values dx_expected = ref::gemm(dout, w, M, K, N),
              dw_expected = ref::gemm(dout, x, N, K, M, true);
  ref::Values dbias_expected(dbias.size(), 1.0);
  for (double& v : dx_expected) v += 1;
  for (double& v : dw_expected) v += 1;
  for (std::int64_t i = 0; i < M * N; ++i) ref::at(dbias_expected, i % N) += ref::at(dout, i);
  CHECK(worst_error(dx, dx_expected, 1) < 1e-5);
  CHECK(worst_error(dw, dw_expected, 1) < 1e-5);
  CHECK(worst_error(dbias, dbias_expected, 1) < 1e-5);
  kernels::linear_backward({}, {}, {}, dout, x, w, M, N, K);
}

TEST_CASE("syrk adds the upper triangle of x'x with any threads") {
  // γ(n) Σ|x||y| is the bound of any float sum of n products (Higham 2002, section 3.1). Equal
  // values make every rounding error of a sum equal as well: the worst case that data can be.
  constexpr double kUnit = 0x1p-24,
                   kGamma = kernels::kSyrkRows * kUnit / (1 - kernels::kSyrkRows * kUnit);
  struct Shape {
    std::int64_t M, N;
  };
  for (const Shape& shape :
       {Shape{37, 1}, {5000, 7}, {5000, 130}, {5000, 300}, {1100, 700}}) {
    const std::int64_t M = shape.M, N = shape.N;
    for (const bool random : {false, true}) {
      std::vector<float> x(static_cast<std::size_t>(M * N));
      Rng rng(12);
      for (float& e : x) e = random ? static_cast<float>(rng.normal()) : 1.1f;
      std::vector<double> out;
      require_same_bits_for_any_thread_count([&] {
        out.assign(static_cast<std::size_t>(N * N), 1.0);
        kernels::syrk(out, x, M, N);
        return out;
      });
      double worst = 0, mean = 0;  // errors over their bound
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t j = i; j < N; ++j) {
          double sum = 1, magnitude = 0;
          for (std::int64_t t = 0; t < M; ++t) {
            const double product = static_cast<double>(x[static_cast<std::size_t>(t * N + i)]) *
                                   static_cast<double>(x[static_cast<std::size_t>(t * N + j)]);
            sum += product;
            magnitude += std::fabs(product);
          }
          const double error =
              std::fabs(out[static_cast<std::size_t>(i * N + j)] - sum) / (kGamma * magnitude);
          worst = std::max(worst, error);
          mean += error / (static_cast<double>(N * (N + 1)) / 2);
        }
      INFO("M = " << M << ", N = " << N << (random ? " random" : " equal"));
      CHECK(worst < 1);
      if (random) CHECK(mean < 1 / std::sqrt(static_cast<double>(kernels::kSyrkRows)));
    }
  }
}

TEST_CASE("cholesky gives L with a = L L' and names a bad pivot") {
  for (const std::int64_t N : {1, 20, 256, 257, 700}) {
    INFO("N = " << N);
    const auto at = [&](std::int64_t r, std::int64_t c) {
      return static_cast<std::size_t>(r * N + c);
    };
    // A known factor with a dominant diagonal; the upper triangle of a is filled with rubbish.
    std::vector<double> expected(static_cast<std::size_t>(N * N)), a(expected.size(), 99.0);
    const Reals x = normals(N * N, 13);
    for (std::int64_t r = 0; r < N; ++r)
      for (std::int64_t c = 0; c <= r; ++c)
        expected[at(r, c)] =
            r == c ? 2 + std::fabs(static_cast<double>(x[at(r, c)]))
                   : static_cast<double>(x[at(r, c)]) / std::sqrt(static_cast<double>(N));
    for (std::int64_t r = 0; r < N; ++r)
      for (std::int64_t c = 0; c <= r; ++c) {
        double sum = 0;
        for (std::int64_t k = 0; k <= c; ++k) sum += expected[at(r, k)] * expected[at(c, k)];
        a[at(r, c)] = sum;
      }
    std::vector<double> factor;
    require_same_bits_for_any_thread_count([&] {
      factor = a;
      REQUIRE(kernels::cholesky(factor, N) == 0);
      return factor;
    });
    double worst = 0;
    for (std::int64_t r = 0; r < N; ++r)
      for (std::int64_t c = 0; c < N; ++c)
        worst = std::max(worst, std::fabs(factor[at(r, c)] - (c <= r ? expected[at(r, c)] : 99.0)));
    CHECK(worst < 1e-9);
    // x L Lᵀ = b for a known x.
    const Reals known = normals(3 * N, 14);
    std::vector<double> b(static_cast<std::size_t>(3 * N));
    for (std::int64_t m = 0; m < 3; ++m)
      for (std::int64_t j = 0; j < N; ++j)
        for (std::int64_t k = 0; k < N; ++k)
          b[at(m, j)] += static_cast<double>(known[at(m, k)]) * a[k < j ? at(j, k) : at(k, j)];
    kernels::cholesky_solve_serial(b, factor, 3, N);
    for (std::size_t i = 0; i < b.size(); ++i)
      CHECK(b[i] == Approx(static_cast<double>(known[i])).margin(1e-8));
    const std::int64_t bad = N * 6 / 7;
    a[at(bad, bad)] = -1;
    CHECK(kernels::cholesky(a, N) == bad + 1);
  }
}

TEST_CASE("OpenBLAS is pinned to one thread in every thread") {
  const kernels::BlasInfo info = kernels::blas_info();
  CHECK(info.threads == 1);
  CHECK(info.config.find("OpenBLAS") != std::string::npos);
  CHECK_FALSE(info.corename.empty());
}

}  // namespace blas_test
