#include "experiments/report/student.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/base/error.h"

namespace notch::experiments {
namespace {

/// The continued fraction of I_x(a, b); converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  constexpr int kMost = 100'000;  // it takes about sqrt(max(a, b))
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), value = d;
  for (int m = 1; m < kMost; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    value *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    value *= c * d;
    if (std::abs(c * d - 1) < 1e-15) break;
  }
  return value;
}

/// The regularized incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x, double one_minus_x) {
  if (x <= 0) return 0;
  if (one_minus_x <= 0) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log(one_minus_x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, one_minus_x) / b;
}

double density(double t, double df) {
  return std::exp(std::lgamma((df + 1) / 2) - std::lgamma(df / 2) -
                  (df + 1) / 2 * std::log1p(t * t / df)) /
         std::sqrt(df * std::numbers::pi);
}

}  // namespace

double t_cdf(double t, double df) {
  check(df > 0, "t_cdf", df, " degrees of freedom; more than 0 are needed");
  if (std::isnan(t)) return t;
  const double n = std::min(df, 1e6), square = t * t;
  if (std::isinf(square)) return t > 0 ? 1 : 0;
  // P(|T| > |t|) = I_{n/(n + t^2)}(n/2, 1/2)
  const double tails = incomplete_beta(n / 2, 0.5, n / (n + square), square / (n + square));
  return t > 0 ? 1 - tails / 2 : tails / 2;
}

double t_quantile(double p, double df) {
  check(p > 0 && p < 1, "t_quantile", "p = ", p, " is not between 0 and 1");
  if (p > 0.5) return -t_quantile(1 - p, df);
  double low = -1;
  while (t_cdf(low, df) > p) low *= 2;
  double high = low == -1 ? 0 : low / 2, t = (low + high) / 2;
  while (high - low > 1e-11 * -low) {
    const double below = t_cdf(t, df);
    (below < p ? low : high) = t;
    const double step = (below - p) / density(t, std::min(df, 1e6));
    if (std::abs(step) <= 1e-13 * -low) return t - step;
    const double newton = t - step, middle = (low + high) / 2;
    t = newton > low && newton < high ? newton : middle;
    if (t == low || t == high) break;
  }
  return t;
}

}  // namespace notch::experiments
