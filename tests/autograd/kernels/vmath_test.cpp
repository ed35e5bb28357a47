#include "autograd/kernels/vmath.h"

#include <cmath>
#include <limits>

#include "tests/autograd/kernels/kernel_testing.h"

namespace vmath_test {

using namespace notch;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Distance of `found` from `expected` in units of the last place of the rounded expectation.
double ulps(float found, double expected) {
  const float rounded = std::fabs(static_cast<float>(expected));
  const double unit =
      static_cast<double>(std::nextafter(rounded, kInf)) - static_cast<double>(rounded);
  return std::fabs(static_cast<double>(found) - expected) / unit;
}

/// Worst error of f against g on [low, high] in `count` even steps.
template <class F, class G>
double worst_ulps(const F& f, const G& g, double low, double high, int count = 400000) {
  double worst = 0;
  for (int i = 0; i <= count; ++i) {
    const float x = static_cast<float>(low + (high - low) * i / count);
    worst = std::max(worst, ulps(f(x), g(static_cast<double>(x))));
  }
  return worst;
}

TEST_CASE("vector exp stays within 2 ulp from denormals to overflow") {
  const auto f = [](float x) { return kernels::vmath::exp(x); };
  const auto g = [](double x) { return std::exp(x); };
  CHECK(worst_ulps(f, g, -87, 88.72) < 2);
  CHECK(worst_ulps(f, g, -104, -87) < 2);
  CHECK(worst_ulps(f, g, -1, 1) < 1.5);
  CHECK(f(0) == 1);
  CHECK(f(-0.0f) == 1);
}

TEST_CASE("vector exp, tanh, sigmoid have the right limits and pass NaN") {
  CHECK(kernels::vmath::exp(kInf) == kInf);
  CHECK(kernels::vmath::exp(89.0f) == kInf);
  CHECK(kernels::vmath::exp(-kInf) == 0);
  CHECK(kernels::vmath::exp(-105.0f) == 0);
  CHECK(std::isnan(kernels::vmath::exp(kNan)));
  CHECK(kernels::vmath::tanh(kInf) == 1);
  CHECK(kernels::vmath::tanh(-kInf) == -1);
  CHECK(std::isnan(kernels::vmath::tanh(kNan)));
  CHECK(std::signbit(kernels::vmath::tanh(-0.0f)));
  CHECK(kernels::vmath::sigmoid(kInf) == 1);
  CHECK(kernels::vmath::sigmoid(-kInf) == 0);
  CHECK(std::isnan(kernels::vmath::sigmoid(kNan)));
  CHECK(std::isnan(kernels::vmath::normal(kNan).cdf));
  CHECK(kernels::vmath::normal(kInf).cdf == 1);
  CHECK(kernels::vmath::normal(-kInf).cdf == 0);
}

TEST_CASE("the exp of nonpositives is within 2 ulp, and 0 below -86.5") {
  const auto f = [](float x) { return kernels::vmath::exp_nonpositive(x); };
  const auto g = [](double x) { return std::exp(x); };
  CHECK(worst_ulps(f, g, -86.5, 0) < 2);
  CHECK(worst_ulps(f, g, -1, 1e-3) < 1.5);
  CHECK(f(0) == 1);
  for (float x : {-87.0f, -200.0f, -1e10f, -3e38f, -kInf}) CHECK(f(x) == 0);
  CHECK(std::isnan(f(kNan)));
}

TEST_CASE("vector tanh and sigmoid stay within 2 and 3 ulp") {
  const auto th = [](float x) { return kernels::vmath::tanh(x); };
  CHECK(worst_ulps(
            th, [](double x) { return std::tanh(x); }, -10, 10) < 2);
  CHECK(worst_ulps(
            th, [](double x) { return std::tanh(x); }, -1e-3, 1e-3) < 2);
  const auto sg = [](float x) { return kernels::vmath::sigmoid(x); };
  CHECK(worst_ulps(
            sg, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80) < 3);
}

TEST_CASE("the vector normal distribution follows erfc into its tail") {
  const auto cdf = [](float x) { return kernels::vmath::normal(x).cdf; };
  const auto exact = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  CHECK(worst_ulps(cdf, exact, 0, 10) < 2);
  CHECK(worst_ulps(cdf, exact, -1, 0) < 4);
  // Further down, x² / 2 is rounded before it is exponentiated: a relative error of x² / 2 · 2^-24
  // each.
  CHECK(worst_ulps(cdf, exact, -5, -1) < 4 + 25.0 / 2);
  CHECK(worst_ulps(cdf, exact, -12, -5) < 4 + 144.0 / 2);
  double worst = 0;
  for (float x = -15; x < 15; x += 1e-4f)
    worst = std::max(worst, std::fabs(static_cast<double>(cdf(x)) - exact(static_cast<double>(x))));
  CHECK(worst < 1e-7);
}

}  // namespace vmath_test
