// The frozen-rounding function against the derivatives that the papers print.

#include "tests/gradients/frozen_rounding.h"

#include "autograd/base/rng.h"
#include "tests/catch.h"

namespace notch::test::frozen_rounding_test {

struct Example {
  std::vector<double> w, s, dout;
};

/// 30 weights on 3 scales; about a quarter lies outside a grid of [-7, 7].
Example example(const FrozenRounding& grid) {
  Rng rng(3);
  Example e{.w = std::vector<double>(30), .s = {0.1, 0.13, 0.08}, .dout = {}};
  for (std::size_t i = 0; i < e.w.size(); ++i) {
    e.w[i] = e.s[i / grid.unit] * (20 * rng.uniform() - 10);
    e.dout.push_back(rng.normal());
  }
  grid.nudge(e.w, e.s);
  return e;
}

TEST_CASE("the clipped form has LSQ's derivatives of the paper") {
  const FrozenRounding grid{.qmin = -7, .qmax = 7, .unit = 10};
  const Example e = example(grid);
  const auto numeric = grid.differentiate(e.w, e.s, e.dout);
  std::vector<double> ds(3);
  int clipped = 0;
  for (std::size_t i = 0; i < e.w.size(); ++i) {
    const double v = e.w[i] / e.s[i / 10];
    const bool inside = v > -7 && v < 7;
    clipped += !inside;
    CHECK(numeric.dw[i] == Approx(inside ? e.dout[i] : 0).margin(1e-6));
    ds[i / 10] += e.dout[i] * (inside ? std::nearbyint(v) - v : v < 0 ? -7 : 7);
  }
  REQUIRE(clipped > 3);
  for (std::size_t u = 0; u < 3; ++u) CHECK(numeric.ds[u] == Approx(ds[u]).epsilon(1e-6));
}

TEST_CASE("the plain form passes every gradient, clipped or not") {
  const FrozenRounding grid{
      .qmin = -8, .qmax = 7, .form = StraightThrough::plain, .unit = 10, .zeros = {1, -2, 0}};
  const Example e = example(grid);
  const auto numeric = grid.differentiate(e.w, e.s, e.dout);
  for (std::size_t i = 0; i < e.w.size(); ++i)
    CHECK(numeric.dw[i] == Approx(e.dout[i]).epsilon(1e-6));
}

TEST_CASE("both forms equal the fake-quantized weight at the point") {
  for (const auto form : {StraightThrough::clipped, StraightThrough::plain}) {
    const FrozenRounding grid{.qmin = -8, .qmax = 7, .form = form, .unit = 10, .zeros = {1, -2, 0}};
    const Example e = example(grid);
    const auto value = grid.value(e.w, e.s, grid.residuals(e.w, e.s));
    for (std::size_t i = 0; i < e.w.size(); ++i) {
      const double z = grid.zeros[i / 10], s = e.s[i / 10];
      const double q = std::clamp(std::nearbyint(e.w[i] / s + z), -8.0, 7.0);
      CHECK(value[i] == Approx((q - z) * s).margin(1e-12));
    }
  }
}

TEST_CASE("nudging leaves no code near a tie or an end of the grid") {
  const FrozenRounding grid{.qmin = -7, .qmax = 7, .unit = 4};
  std::vector<double> w = {0.05, 0.7, -0.7, -0.15}, s = {0.1};  // codes 0.5, 7, -7, -1.5
  CHECK(grid.nudge(w, s) == 4);
  CHECK(grid.nudge(w, s) == 0);
}

}  // namespace notch::test::frozen_rounding_test
