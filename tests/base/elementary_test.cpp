#include "autograd/base/elementary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/base/arithmetic.h"
#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace elementary_test {

using namespace notch;

/// |found - expected| in units in the last place of `of`; x87's 64 bits are the judge.
double ulps(double found, long double expected, double of) {
  const double unit =
      std::nextafter(std::fabs(of), std::numeric_limits<double>::infinity()) - std::fabs(of);
  return static_cast<double>(std::fabs(static_cast<long double>(found) - expected)) / unit;
}

TEST_CASE("own exp, log, pow, sin and cos err as they state") {
  const ScopedArithmetic portable(Arithmetic::portable);
  Rng rng(3);
  double worst_exp = 0, worst_log = 0, worst_near_one = 0, worst_turn = 0, worst_erfc = 0,
         worst_pow = 0;
  for (int i = 0; i < 20000; ++i) {
    const double x = 700 * (2 * rng.uniform() - 1);
    worst_exp = std::max(worst_exp, ulps(elementary::exp(x), expl(x), elementary::exp(x)));
    const double positive = std::exp(x);
    worst_log =
        std::max(worst_log, ulps(elementary::log(positive), logl(positive), std::log(positive)));
    const double near = 1 + 0.3 * (rng.uniform() - 0.5);
    worst_near_one =
        std::max(worst_near_one, ulps(elementary::log(near), logl(near), std::log(near)));
    const double angle = rng.uniform() * (i % 2 == 0 ? 0x1p20 : 10) * (i % 3 == 0 ? -1 : 1);
    worst_turn = std::max({worst_turn, ulps(elementary::sin(angle), sinl(angle), 1),
                           ulps(elementary::cos(angle), cosl(angle), 1)});
    const double spread = 12 * (rng.uniform() - 0.5);
    worst_erfc = std::max(worst_erfc, ulps(elementary::erfc(spread), erfcl(spread), 1));
    const double base = std::exp(4 * (rng.uniform() - 0.5)), exponent = 100 * (rng.uniform() - 0.5);
    const double power = elementary::pow(base, exponent);
    worst_pow = std::max(worst_pow, ulps(power, powl(base, exponent), power) /
                                        (2 + 2 * std::fabs(exponent * std::log(base))));
  }
  CHECK(worst_exp <= 2);
  CHECK(worst_log <= 2);
  CHECK(worst_near_one <= 2);
  CHECK(worst_turn <= 2);
  CHECK(worst_erfc <= 8);
  CHECK(worst_pow <= 1);
}

TEST_CASE("own exp, log and pow take the edges as C does") {
  const ScopedArithmetic portable(Arithmetic::portable);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(elementary::exp(0.0) == 1);
  CHECK(elementary::exp(710.0) == infinity);
  CHECK(elementary::exp(-746.0) == 0);
  CHECK(elementary::exp(-740.0) == Approx(std::exp(-740.0)).epsilon(1e-2));  // few digits are left
  CHECK(elementary::exp(infinity) == infinity);
  CHECK(elementary::exp(-infinity) == 0);
  CHECK(std::isnan(elementary::exp(std::nan(""))));
  CHECK(elementary::log(1.0) == 0);
  CHECK(elementary::log(0.0) == -infinity);
  CHECK(elementary::log(infinity) == infinity);
  CHECK(std::isnan(elementary::log(-1.0)));
  CHECK(std::isnan(elementary::log(std::nan(""))));
  CHECK(elementary::log(0x1p-1074) == Approx(-1074 * std::numbers::ln2).epsilon(1e-15));
  CHECK(elementary::pow(-3.0, 2) == 9);
  CHECK(elementary::pow(-3.0, 3) == -27);
  CHECK(elementary::pow(2.0, -3) == 0.125);
  CHECK(elementary::pow(-2.0, 101) == Approx(-0x1p101));
  CHECK(std::isnan(elementary::pow(-2.0, 0.5)));
  CHECK(elementary::pow(0.0, 0.5) == 0);
  CHECK(elementary::pow(0.0, -0.5) == infinity);
  CHECK(elementary::pow(7.0, 0) == 1);
  CHECK(elementary::exp(1.0f) == Approx(std::numbers::e));
  CHECK(elementary::log(2.0f) == Approx(std::numbers::ln2));
}

TEST_CASE("in native arithmetic they are the C library's, to the bit") {
  for (const double x : {0.3, 1.7, 12.5}) {
    CHECK(elementary::exp(x) == std::exp(x));
    CHECK(elementary::log(x) == std::log(x));
    CHECK(elementary::pow(x, 0.7) == std::pow(x, 0.7));
    CHECK(elementary::erfc(x) == std::erfc(x));
    CHECK(elementary::sin(x) == std::sin(x));
    CHECK(elementary::cos(x) == std::cos(x));
    CHECK(elementary::exp(static_cast<float>(x)) == std::exp(static_cast<float>(x)));
  }
}

}  // namespace elementary_test
