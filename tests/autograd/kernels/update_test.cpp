// Elementwise kernels: activations, embedding, dropout, optimizer updates.
#include <cmath>

#include "autograd/kernels/activation.h"
#include "autograd/kernels/adamw.h"
#include "autograd/kernels/dropout.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/embedding.h"
#include "autograd/kernels/reference.h"
#include "tests/autograd/kernels/kernel_testing.h"

namespace update_test {

using namespace notch;
using namespace notch::test;
using kernels::Gelu;
namespace ref = notch::kernels::reference;

/// Central difference of f at x.
template <class F>
double slope(const F& f, double x) {
  const double h = 1e-5;
  return (f(x + h) - f(x - h)) / (2 * h);
}

TEST_CASE("gelu and its derivative follow the formula in both forms") {
  Reals x = normals(20000, 1, 3);
  for (real v : {0.0f, -0.0f, 1e-20f, -12.0f, 12.0f, -40.0f, 40.0f, 1e10f, -1e10f}) x.push_back(v);
  for (Gelu form : {Gelu::exact, Gelu::tanh}) {
    const auto f = [&](double v) {
      return form == Gelu::exact ? ref::gelu_exact(v) : ref::gelu_tanh(v);
    };
    Reals out(x.size()), dx(x.size(), real{3});
    const Reals dout(x.size(), real{2});
    kernels::gelu_forward(out, x, form);
    kernels::gelu_backward(dx, dout, x, form);
    double worst = 0, worst_slope = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = x[i];
      worst = std::max(worst, std::fabs(out[i] - f(v)) / std::max(1.0, std::fabs(v)));
      if (std::fabs(v) < 100)
        worst_slope = std::max(worst_slope, std::fabs((dx[i] - 3) / 2 - slope(f, v)));
    }
    CHECK(worst < 4e-7);
    CHECK(worst_slope < 2e-6);
    Reals fresh(x.size(), static_cast<real>(NAN)), zeroed(x.size(), real{0});
    kernels::gelu_backward(fresh, dout, x, form, true);
    kernels::gelu_backward(zeroed, dout, x, form);
    CHECK(fresh == zeroed);  // a fresh gradient is overwritten, whatever it held
    CHECK(out[x.size() - 2] == 1e10f);
    CHECK(out[x.size() - 1] == 0);
  }
}

TEST_CASE("exp, tanh and sigmoid differentiate in place from the output") {
  const Reals x = normals(5000, 2, 2);
  const Reals dout = normals(5000, 3);
  Reals e = x, t = x, s = x;
  kernels::exp_forward(e, e);
  kernels::tanh_forward(t, t);
  kernels::sigmoid_forward(s, s);
  Reals de(x.size()), dt(x.size()), ds(x.size());
  kernels::exp_backward(de, dout, e);
  kernels::tanh_backward(dt, dout, t);
  kernels::sigmoid_backward(ds, dout, s);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], d = dout[i];
    CHECK(e[i] == Approx(std::exp(v)).epsilon(1e-6));
    CHECK(t[i] == Approx(std::tanh(v)).epsilon(1e-6));
    CHECK(s[i] == Approx(1 / (1 + std::exp(-v))).epsilon(1e-6));
    CHECK(de[i] == Approx(d * std::exp(v)).epsilon(1e-6));
    CHECK(dt[i] == Approx(d * (1 - std::tanh(v) * std::tanh(v))).margin(1e-6));
    CHECK(ds[i] == Approx(d * std::exp(-v) / std::pow(1 + std::exp(-v), 2)).margin(1e-6));
  }
}

TEST_CASE("embedding gathers rows and scatters gradients of repeated ids") {
  const std::int64_t V = 11, C = 70;
  const std::vector<std::int32_t> ids = {3, 3, 0, 10, 3, 7};
  const auto n = static_cast<std::int64_t>(ids.size());
  const Reals table = normals(V * C, 4), dout = normals(n * C, 5);
  Reals out(dout.size()), dtable(table.size(), real{1});
  kernels::embedding_forward(out, table, ids, n, C);
  kernels::embedding_backward(dtable, dout, ids, n, C);
  ref::Values expected(table.size(), 1.0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t c = 0; c < C; ++c) {
      const std::int64_t at = ids[static_cast<std::size_t>(i)] * C + c;
      CHECK(out[static_cast<std::size_t>(i * C + c)] == table[static_cast<std::size_t>(at)]);
      ref::at(expected, at) += ref::at(dout, i * C + c);
    }
  CHECK(worst_error(dtable, expected, 1) < 1e-6);
}

TEST_CASE("dropout keeps the expectation, backward uses the same mask") {
  const std::int64_t n = 200000;
  const Reals x(static_cast<std::size_t>(n), real{1});
  Reals out(x.size()), dx(x.size(), real{1});
  kernels::dropout_forward(out, x, 0.25, 42);
  kernels::dropout_backward(dx, x, 0.25, 42);
  std::int64_t dropped = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool gone = counter_uniform(42, i) < 0.25f;
    dropped += gone;
    CHECK(out[i] == (gone ? 0 : static_cast<real>(1 / 0.75)));
    CHECK(dx[i] == 1 + out[i]);
  }
  // Binomial: 5 standard deviations.
  CHECK(std::fabs(static_cast<double>(dropped) - 0.25 * n) < 5 * std::sqrt(0.25 * 0.75 * n));
  kernels::dropout_forward(out, x, 0, 42);
  CHECK(out == x);
}

TEST_CASE("adamw takes the steps of Loshchilov and Hutter's algorithm 2") {
  const Reals start = normals(1000, 9), gradients = normals(3000, 10);
  Reals w = start, m(w.size()), v(w.size());
  std::vector<double> we(start.begin(), start.end()), me(w.size()), ve(w.size());
  const double lr = 1e-2, b1 = 0.9, b2 = 0.99, eps = 1e-8, decay = 0.1, k = 0.5;
  for (int t = 1; t <= 3; ++t) {
    const auto g =
        std::span<const real>(gradients).subspan(static_cast<std::size_t>(t - 1) * 1000, 1000);
    kernels::adamw(w, m, v, g,
                   {.lr = lr,
                    .beta1 = b1,
                    .beta2 = b2,
                    .eps = eps,
                    .weight_decay = decay,
                    .bias_correction1 = 1 - std::pow(b1, t),
                    .bias_correction2 = 1 - std::pow(b2, t),
                    .grad_scale = k});
    for (std::size_t i = 0; i < we.size(); ++i) {
      const double gi = k * static_cast<double>(g[i]);
      me[i] = b1 * me[i] + (1 - b1) * gi;
      ve[i] = b2 * ve[i] + (1 - b2) * gi * gi;
      const double mhat = me[i] / (1 - std::pow(b1, t)), vhat = ve[i] / (1 - std::pow(b2, t));
      we[i] -= lr * (mhat / (std::sqrt(vhat) + eps) + decay * we[i]);
    }
  }
  CHECK(worst_error(w, we, 1) < 1e-6);
  CHECK(worst_error(m, me, 1) < 1e-6);
  CHECK(worst_error(v, ve, 1) < 1e-6);
}

TEST_CASE("sgd, weight average and flat kernels follow their formulas") {
  const Reals a = normals(20000, 11), b = normals(20000, 12);
  Reals w = a, u = b, plain = a, shadow = a, y = a, z(a.size());
  kernels::sgd(w, u, b, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.2, .grad_scale = 2});
  kernels::sgd(plain, {}, b, {.lr = 0.1, .grad_scale = 2});
  kernels::ema(shadow, b, 0.75);
  kernels::accumulate(y, b, -3);
  kernels::add(z, a, b);
  kernels::scale(z, z, 2);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], g = b[i], velocity = 0.9 * g + 2 * g;
    CHECK(u[i] == Approx(velocity).epsilon(1e-6));
    CHECK(w[i] == Approx(x - 0.1 * 0.2 * x - 0.1 * velocity).margin(1e-6));
    CHECK(plain[i] == Approx(x - 0.2 * g).margin(1e-6));
    CHECK(shadow[i] == Approx(0.75 * x + 0.25 * g).margin(1e-6));
    CHECK(y[i] == Approx(x - 3 * g).margin(2e-6));
    CHECK(z[i] == Approx(2 * (x + g)).margin(2e-6));
  }
  kernels::fill(z, 4);
  CHECK(z == Reals(z.size(), real{4}));
}

}  // namespace update_test
