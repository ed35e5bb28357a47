// Row and flat reductions: softmax, layernorm, elementwise sums.
#include <cmath>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/norm.h"
#include "autograd/kernels/reference.h"
#include "autograd/kernels/softmax.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace reduce_test {

using namespace notch;
using namespace notch::test;
namespace ref = notch::kernels::reference;

std::span<const real> row(const Reals& x, std::int64_t r, std::int64_t C) {
  return std::span<const real>(x).subspan(static_cast<std::size_t>(r * C),
                                          static_cast<std::size_t>(C));
}

TEST_CASE("softmax and log-sum-exp equal the reference at any length") {
  for (std::int64_t C : {1, 2, 15, 16, 31, 32, 33, 100, 513, 1500}) {
    const std::int64_t rows = 7;
    const Reals x = normals(rows * C, 1, 5);
    Reals out(x.size()), lse(static_cast<std::size_t>(rows));
    kernels::softmax_forward(out, x, rows, C);
    kernels::log_sum_exp(lse, x, rows, C);
    for (std::int64_t r = 0; r < rows; ++r) {
      INFO("C = " << C << ", row " << r);
      const auto p = row(out, r, C);
      // x - max is rounded to half a unit of at most 32, and exp turns that into a relative error.
      CHECK(worst_error(p, ref::softmax(row(x, r, C)), 1e-30) < (16 + 8) * kEpsilon);
      CHECK(lse[static_cast<std::size_t>(r)] ==
            Approx(ref::log_sum_exp(row(x, r, C))).epsilon(2 * kEpsilon).margin(2 * kEpsilon));
    }
  }
}

TEST_CASE("softmax works in place, on huge logits and on a row with NaN") {
  Reals x = {1000, 999, -1e30f, 3, static_cast<real>(NAN), 5};
  kernels::softmax_forward(x, x, 2, 3);
  CHECK(x[0] == Approx(1 / (1 + std::exp(-1.0))).epsilon(1e-6));
  CHECK(x[2] == 0);
  for (std::size_t i : {3u, 4u, 5u}) CHECK(std::isnan(x[i]));
}

TEST_CASE("softmax's backward accumulates the Jacobian's product") {
  const std::int64_t rows = 3, C = 37;
  const Reals x = normals(rows * C, 2), dout = normals(rows * C, 3);
  Reals out(x.size());
  kernels::softmax_forward(out, x, rows, C);
  Reals dx(x.size(), real{2});
  kernels::softmax_backward(dx, dout, out, rows, C);
  ref::Values expected(x.size(), 2.0);
  for (std::int64_t r = 0; r < rows; ++r) {
    const ref::Values p = ref::softmax(row(x, r, C));
    for (std::int64_t i = 0; i < C; ++i)
      for (std::int64_t j = 0; j < C; ++j)
        ref::at(expected, r * C + j) +=
            ref::at(dout, r * C + i) * ref::at(p, i) * ((i == j ? 1 : 0) - ref::at(p, j));
  }
  CHECK(worst_error(dx, expected, 1) < 8 * kEpsilon);
}

TEST_CASE("layernorm equals the naive reference, with and without beta") {
  for (std::int64_t C : {1, 5, 32, 64, 100, 768}) {
    const std::int64_t rows = 70;
    const Reals x = normals(rows * C, 4), gamma = normals(C, 5), beta = normals(C, 6);
    for (const Reals& b : {beta, Reals{}}) {
      INFO("C = " << C << ", beta " << b.size());
      Reals out(x.size()), mean(static_cast<std::size_t>(rows)), rstd(mean.size());
      kernels::layernorm_forward(out, mean, rstd, x, gamma, b, rows, C, 1e-5);
      const ref::LayerNorm expected = ref::layernorm(x, gamma, b, rows, C, 1e-5);
      CHECK(worst_error(mean, expected.mean, 1) < 4 * kEpsilon);
      if (C > 1) {
        CHECK(worst_error(rstd, expected.rstd, 1e-3) < 1e-5);
        CHECK(worst_error(out, expected.out, 1) < 2e-5);
      }
    }
  }
}

TEST_CASE("layernorm keeps its digits when the mean is 1000 deviations") {
  const std::int64_t C = 768;
  Reals x = normals(C, 7);
  for (real& v : x) v += 1000;
  const Reals gamma(static_cast<std::size_t>(C), real{1});
  Reals out(x.size()), mean(1), rstd(1);
  kernels::layernorm_forward(out, mean, rstd, x, gamma, {}, 1, C, 1e-5);
  const ref::LayerNorm expected = ref::layernorm(x, gamma, {}, 1, C, 1e-5);
  // One unit in the last place of 1000 is 6e-5; E[x²] - E[x]² in float would lose everything.
  CHECK(worst_error(out, expected.out, 1) < 1e-4);
  CHECK(worst_error(rstd, expected.rstd, 1e-3) < 1e-5);
}

TEST_CASE("layernorm's backward accumulates and skips empty gradients") {
  const std::int64_t rows = 100, C = 48;
  const Reals x = normals(rows * C, 8), dout = normals(rows * C, 9), gamma = normals(C, 10);
  Reals out(x.size()), mean(static_cast<std::size_t>(rows)), rstd(mean.size());
  kernels::layernorm_forward(out, mean, rstd, x, gamma, {}, rows, C, 1e-5);
  Reals again(out.size());
  kernels::layernorm_again(again, x, gamma, {}, mean, rstd, rows, C);
  CHECK(again == out);
  Reals workspace(static_cast<std::size_t>(kernels::layernorm_backward_workspace(rows, C)),
                  real{77});
  Reals dx(x.size(), real{1}), dgamma(gamma.size(), real{1}), dbeta(gamma.size(), real{1});
  kernels::layernorm_backward(dx, dgamma, dbeta, dout, x, gamma, mean, rstd, rows, C, workspace);
  ref::LayerNormGradients expected = ref::layernorm_backward(dout, x, gamma, rows, C, 1e-5);
  for (ref::Values* v : {&expected.dx, &expected.dgamma, &expected.dbeta})
    for (double& d : *v) d += 1;
  CHECK(worst_error(dx, expected.dx, 1) < 1e-5);
  CHECK(worst_error(dgamma, expected.dgamma, 1) < 1e-5);
  CHECK(worst_error(dbeta, expected.dbeta, 1) < 1e-5);

  Reals only(x.size(), real{1});
  kernels::layernorm_backward(only, {}, {}, dout, x, gamma, mean, rstd, rows, C, workspace);
  CHECK(only == dx);
  Reals parameters(gamma.size(), real{1});
  kernels::layernorm_backward({}, parameters, {}, dout, x, gamma, mean, rstd, rows, C, workspace);
  CHECK(parameters == dgamma);
}

TEST_CASE("rmsnorm equals the naive reference, forward and backward") {
  for (std::int64_t C : {1, 5, 32, 100, 768}) {
    const std::int64_t rows = 70;
    INFO("C = " << C);
    const Reals x = normals(rows * C, 4), gamma = normals(C, 5), dout = normals(rows * C, 6);
    Reals out(x.size()), rstd(static_cast<std::size_t>(rows)), again(x.size());
    kernels::rmsnorm_forward(out, rstd, x, gamma, rows, C, 1e-5);
    const ref::RmsNorm expected = ref::rmsnorm(x, gamma, rows, C, 1e-5);
    CHECK(worst_error(rstd, expected.rstd, 1e-3) < 1e-5);
    CHECK(worst_error(out, expected.out, 1) < 1e-5);
    kernels::rmsnorm_again(again, x, gamma, rstd, rows, C);
    CHECK(again == out);

    Reals workspace(static_cast<std::size_t>(kernels::layernorm_backward_workspace(rows, C)),
                    real{77});
    Reals dx(x.size(), real{1}), dgamma(gamma.size(), real{1});
    kernels::rmsnorm_backward(dx, dgamma, dout, x, gamma, rstd, rows, C, workspace);
    ref::RmsNormGradients wanted = ref::rmsnorm_backward(dout, x, gamma, rows, C, 1e-5);
    for (ref::Values* v : {&wanted.dx, &wanted.dgamma})
      for (double& d : *v) d += 1;
    if (C > 1) {  // of one channel the gradient is 0 but for eps, by cancellation of 1/|x|
      CHECK(worst_error(dx, wanted.dx, 1) < 1e-5);
    }
    CHECK(worst_error(dgamma, wanted.dgamma, 1) < 1e-5);
    Reals only(x.size(), real{1}), parameters(gamma.size(), real{1});
    kernels::rmsnorm_backward(only, {}, dout, x, gamma, rstd, rows, C, workspace);
    kernels::rmsnorm_backward({}, parameters, dout, x, gamma, rstd, rows, C, workspace);
    CHECK(only == dx);
    CHECK(parameters == dgamma);
  }
}

TEST_CASE("sums and dots equal double arithmetic better than float loops") {
  for (std::int64_t n : {0, 1, 31, 512, 16385, 300001}) {
    INFO("n = " << n);
    const Reals a = normals(n, 11), b = normals(n, 12);
    double sum = 0, dot = 0, squares = 0, magnitude = 1;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum += static_cast<double>(a[i]);
      magnitude +=
          std::fabs(static_cast<double>(a[i])) * (1 + std::fabs(static_cast<double>(b[i])));
      dot += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      squares += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    }
    CHECK(std::fabs(kernels::sum(a) - sum) < 4 * kEpsilon * magnitude);
    CHECK(std::fabs(kernels::dot(a, b) - dot) < 4 * kEpsilon * magnitude);
    CHECK(kernels::sum_of_squares(a) == Approx(squares).epsilon(4 * kEpsilon));
  }
  const std::int64_t rows = 1000, C = 150;
  const Reals dout = normals(rows * C, 13);
  Reals dbias(static_cast<std::size_t>(C), real{3});
  kernels::bias_backward(dbias, dout, rows, C);
  ref::Values expected(dbias.size(), 3.0);
  for (std::int64_t i = 0; i < rows * C; ++i) ref::at(expected, i % C) += ref::at(dout, i);
  CHECK(worst_error(dbias, expected, 30) < 4 * kEpsilon);
}

TEST_CASE("one NaN anywhere makes sums and squares NaN") {
  Reals x = normals(40000, 14);
  x[39990] = static_cast<real>(NAN);
  CHECK(std::isnan(kernels::sum(x)));
  CHECK(std::isnan(kernels::sum_of_squares(x)));
}

TEST_CASE("reductions give the same bits for any number of threads") {
  const std::int64_t rows = 500, C = 96;
  const Reals x = normals(rows * C, 15), dout = normals(rows * C, 16), gamma = normals(C, 17);
  require_same_bits_for_any_thread_count([&] {
    Reals out(x.size()), mean(static_cast<std::size_t>(rows)), rstd(mean.size());
    kernels::layernorm_forward(out, mean, rstd, x, gamma, {}, rows, C, 1e-5);
    Reals workspace(static_cast<std::size_t>(kernels::layernorm_backward_workspace(rows, C)));
    Reals dx(x.size()), dgamma(gamma.size()), dbeta(gamma.size());
    kernels::layernorm_backward(dx, dgamma, dbeta, dout, x, gamma, mean, rstd, rows, C, workspace);
    kernels::bias_backward(dbeta, x, rows, C);
    dgamma.insert(dgamma.end(), dbeta.begin(), dbeta.end());
    dgamma.insert(dgamma.end(), dx.begin(), dx.end());
    dgamma.push_back(static_cast<real>(kernels::dot(x, dout)));
    return dgamma;
  });
}

}  // namespace reduce_test
