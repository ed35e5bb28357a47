// One quantizer: hand-worked examples, properties over every spec, and bit-identity of fake
// quantization with dequantized codes.
#include "quant/numbers/qtensor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/names.h"
#include "quant/kernels/round.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/same_bits.h"

namespace qtensor_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::error_of;
using notch::test::normal_matrix;
using notch::test::same_bits;

using Codes = std::vector<std::int8_t>;

QTensor absmax(const std::vector<real>& w, std::int64_t rows, std::int64_t cols, const Spec& spec) {
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "t").at, "t");
}

TEST_CASE("asymmetric INT8 by hand is scale 1.5/255 and zero point -77") {
  const std::vector<real> w{0.5f, 1.2f, -0.3f, 0.8f};
  const QTensor q =
      absmax(w, 1, 4, {.grid = GridKind::asymmetric, .granularity = Granularity::tensor});
  CHECK(q.at.scales[0] == Approx(1.5 / 255).epsilon(1e-7));
  CHECK(int{q.at.zero_points[0]} == -77);     // 51 on the unsigned grid
  CHECK(q.codes == Codes{8, 127, -128, 59});  // 136, 255, 0, 187 on the unsigned grid
  const std::vector<real> back = dequantize(q);
  for (std::size_t i = 0; i < 4; ++i) CHECK(back[i] == Approx(w[i]).epsilon(2e-7));
}

TEST_CASE("per-channel scales save a small row, float32 decides its tie") {
  const std::vector<real> w{0.01f, -0.02f, 0.015f, -0.005f, 1.5f, -2, 0.8f, -1.2f};
  CHECK(absmax(w, 2, 4, {.granularity = Granularity::tensor}).codes ==
        Codes{1, -1, 1, 0, 95, -127, 51, -76});
  // 0.01 / (0.02/127) is 63.5 in real numbers and 63.4999962 in float32: 63, where double gives 64.
  CHECK(absmax(w, 2, 4, {.granularity = Granularity::channel}).codes ==
        Codes{63, -127, 95, -32, 95, -127, 51, -76});
}

TEST_CASE("groups of 4 at 4 bits lower the error from .00836 to .00129") {
  const std::vector<real> w{0.1f, 0.2f, 0.15f, 0.12f, 2.0f, -1.8f, 1.5f, -2.1f};
  const auto mse = [&](const QTensor& q) {
    const std::vector<real> back = dequantize(q);
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); ++i) sum += std::pow(double(w[i]) - double(back[i]), 2);
    return sum / static_cast<double>(w.size());
  };
  const QTensor grouped =
      absmax(w, 1, 8, {.bits = 4, .granularity = Granularity::group, .group_size = 4});
  const QTensor whole = absmax(w, 1, 8, {.bits = 4});
  CHECK(grouped.codes == Codes{4, 7, 5, 4, 7, -6, 5, -7});
  CHECK(whole.codes == Codes{0, 1, 1, 0, 7, -6, 5, -7});  // 0.15 / 0.3 is 0.50000006 in float32
  CHECK(mse(grouped) == Approx(0.00129).epsilon(0.005));
  CHECK(mse(whole) == Approx(0.00836).epsilon(0.001));
}

TEST_CASE("symmetric INT8 by hand rounds the tie 63.5 to even") {
  const QTensor q = absmax({0.1f, 0.5f, 1, -0.3f, 2, -1.5f}, 1, 6, {});
  CHECK(q.codes == Codes{6, 32, 64, -19, 127, -95});
  const std::vector<real> expected{0.09449f, 0.50394f, 1.00787f, -0.29921f, 2, -1.49606f};
  const std::vector<real> back = dequantize(q);
  for (std::size_t i = 0; i < 6; ++i) CHECK(back[i] == Approx(expected[i]).margin(5e-6));
}

TEST_CASE("ties go to the even code, on both sides of zero") {
  const QTensor q = absmax({2.5f, -2.5f, 0.5f, -0.5f, 1.5f, -1.5f, 3.5f, 7}, 1, 8, {.bits = 4});
  REQUIRE(q.at.scales[0] == 1);
  CHECK(q.codes == Codes{2, -2, 0, 0, 2, -2, 4, 7});
}

TEST_CASE("the signed-max grid gives the largest weight the lowest code") {
  const Spec spec{.bits = 4, .grid = GridKind::signed_max};
  const QTensor q = absmax({1, -0.5f, 0.25f, 0, -1, 0.5f, -0.25f, 0}, 2, 4, spec);
  CHECK(q.at.scales == std::vector<real>{-0.125f, 0.125f});
  CHECK(q.codes == Codes{-8, 4, -2, 0, -8, 4, -2, 0});
  CHECK(dequantize(q) == std::vector<real>{1, -0.5f, 0.25f, 0, -1, 0.5f, -0.25f, 0});
}

TEST_CASE("round_clamped is clamp and nearbyint, also for infinities") {
  int wrong = 0;
  for (int i = -4096; i <= 4096; ++i) {
    const real centre = static_cast<real>(i) / 16;
    for (const real v :
         {centre, std::nextafter(centre, real{-1e9}), std::nextafter(centre, real{1e9})}) {
      const real clamped = std::min(std::max(v, real{-128}), real{127});
      wrong += round_clamped(v, -128, 127) != std::nearbyint(clamped);
    }
  }
  CHECK(wrong == 0);
  const real inf = std::numeric_limits<real>::infinity();
  CHECK(round_clamped(inf, -7, 7) == 7);
  CHECK(round_clamped(-inf, -7, 7) == -7);
  CHECK_FALSE(std::signbit(round_clamped(real{-0.25f}, -7, 7)));
  CHECK(std::isnan(round_clamped(std::numeric_limits<real>::quiet_NaN(), -7, 7)));
}

TEST_CASE("codes stay in the grid and quantizing again changes nothing") {
  constexpr std::int64_t kRows = 5, kCols = 42;
  std::vector<real> w = normal_matrix(kRows * kCols, 3, 0.05);
  std::fill(w.begin() + kCols, w.begin() + 2 * kCols, real{0});
  for (const Spec& spec : all_specs(14)) {
    for (const RangeRule rule : {RangeRule::absmax, RangeRule::mse}) {
      INFO(name_of(spec) << ' ' << word_of(rule));
      const Scales at = choose_scales(w, kRows, kCols, spec, rule, "t").at;
      const QTensor q = quantize(w, kRows, kCols, spec, at, "t");
      REQUIRE_NOTHROW(validate(q, "t"));
      const std::vector<real> back = dequantize(q);
      std::vector<real> fake(w.size());
      const Grid grid = grid_of(spec);
      fake_quant(fake, w, {at.scales, at.zero_points, unit_size(spec, kRows, kCols)}, grid);
      CHECK(same_bits(fake, back));
      CHECK(quantize(back, kRows, kCols, spec, at, "t").codes == q.codes);
      CHECK(std::all_of(back.begin() + kCols, back.begin() + 2 * kCols,
                        [&](real v) { return v == 0 || spec.grid == GridKind::seq; }));
    }
  }
}

TEST_CASE("round_odd is 2 floor(v/2) + 1 clamped, up between two codes") {
  for (double v = -9; v <= 9; v += 0.0625) {
    const double expected = std::clamp(2 * std::floor(v / 2) + 1, -3.0, 3.0);
    CHECK(double(round_odd(static_cast<real>(v), -3, 3)) == expected);
    CHECK(round_odd(static_cast<real>(v), -1, 1) == (v < 0 ? -1 : 1));
  }
  CHECK(round_odd(-1e-30f, -1, 1) == -1);
  CHECK(round_odd(-0.0f, -1, 1) == 1);
  CHECK(std::isnan(round_odd(std::nanf(""), -3, 3)));
  CHECK(round_odd(std::numeric_limits<real>::infinity(), -3, 3) == 3);
}

TEST_CASE("inside the range the error is at most half a step, or the least") {
  constexpr std::int64_t kRows = 4, kCols = 60;
  const std::vector<real> w = normal_matrix(kRows * kCols, 4, 3);
  int wrong = 0;
  for (const Spec& spec : all_specs(20)) {
    const QTensor q = absmax(w, kRows, kCols, spec);
    const std::vector<real> back = dequantize(q);
    const std::int64_t unit = unit_size(spec, kRows, kCols);
    const Grid grid = grid_of(spec);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const std::size_t u = i / static_cast<std::size_t>(unit);
      const double s = double(q.at.scales[u]);
      const int z = q.at.zero_points.empty() ? 0 : q.at.zero_points[u];
      const double steps = double(w[i]) / s;
      if (!grid.levels.empty()) {  // no level is nearer, but for the rounding of their midpoint
        double nearest = 1e9;
        for (const real level : grid.levels)
          nearest = std::min(nearest, std::fabs(double(w[i]) - double(level) * s));
        wrong += std::fabs(double(w[i]) - double(back[i])) >
                 nearest + 1e-6 * (std::fabs(s) + std::fabs(double(w[i])));
        continue;
      }
      const double reach = double(grid.reach);
      const bool inside = steps >= grid.qmin - z - reach && steps <= grid.qmax - z + reach;
      // The product codes·scale is rounded once, the division once.
      const double slack = 1e-6 * std::fabs(double(w[i]));
      wrong += inside &&
               std::fabs(double(w[i]) - double(back[i])) > std::fabs(s) * grid.step / 2 + slack;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a row too small for f16 scales keeps the smallest scale") {
  const std::vector<real> w{1e-9f, -2e-9f, 1e-7f, 3e-8f};
  const QTensor q = absmax(w, 2, 2, {.bits = 4, .scale = ScaleType::f16});
  CHECK(q.at.scales[0] == 0x1p-24f);
  CHECK(q.codes == Codes{0, 0, 2, 1});  // 1e-7 / 2^-24 = 1.68, 3e-8 / 2^-24 = 0.503
}

TEST_CASE("scaling weights by a power of two scales the result exactly") {
  const std::vector<real> w = normal_matrix(6 * 32, 5);
  std::vector<real> tiny = w;
  for (real& v : tiny) v *= 0x1p-60f;
  const QTensor a = absmax(w, 6, 32, {.bits = 4}), b = absmax(tiny, 6, 32, {.bits = 4});
  CHECK(a.codes == b.codes);
  for (std::size_t u = 0; u < 6; ++u) CHECK(b.at.scales[u] == a.at.scales[u] * 0x1p-60f);
}

TEST_CASE("non-finite weights and bad scales are errors naming the row") {
  std::vector<real> w = normal_matrix(4 * 8, 6);
  const Scales at = choose_scales(w, 4, 8, {}, RangeRule::absmax, "t").at;
  for (const real bad :
       {std::numeric_limits<real>::infinity(), -std::numeric_limits<real>::infinity(),
        std::numeric_limits<real>::quiet_NaN()}) {
    std::vector<real> broken = w;
    broken[2 * 8 + 3] = bad;
    const auto e = error_of([&] { quantize(broken, 4, 8, {}, at, "h.1.attn.c_attn"); });
    CHECK(e.fault == Fault::numeric);
    CHECK(e.where == "h.1.attn.c_attn");
    CHECK(e.field == "row 2");
    CHECK(error_of([&] { choose_scales(broken, 4, 8, {}, RangeRule::mse, "t"); }).field == "row 2");
  }
  for (const real bad : {real{0}, std::numeric_limits<real>::quiet_NaN()}) {
    Scales wrong = at;
    wrong.scales[3] = bad;
    const auto e = error_of([&] { quantize(w, 4, 8, {}, wrong, "t"); });
    CHECK(e.fault == Fault::numeric);
    CHECK(e.field == "scale 3");
  }
}

TEST_CASE("sizes that do not fit are usage errors") {
  const std::vector<real> w = normal_matrix(4 * 8, 6);
  const Scales at = choose_scales(w, 4, 8, {}, RangeRule::absmax, "t").at;
  CHECK(error_of([&] { quantize(w, 4, 7, {}, at, "t"); }).fault == Fault::usage);
  CHECK(error_of([&] { quantize(w, 8, 4, {}, at, "t"); }).field == "scales");
  Scales zeros = at;
  zeros.zero_points.assign(4, 0);
  CHECK(error_of([&] { quantize(w, 4, 8, {}, zeros, "t"); }).field == "zero_points");
}

TEST_CASE("a tensor from a file is checked: codes, scales, zero points") {
  const std::vector<real> w = normal_matrix(4 * 8, 6);
  const QTensor good = absmax(w, 4, 8, {.bits = 4, .grid = GridKind::asymmetric});
  REQUIRE_NOTHROW(validate(good, "t"));
  QTensor code = good;
  code.codes[9] = 8;
  CHECK(error_of([&] { validate(code, "t"); }).fault == Fault::input);
  CHECK(error_of([&] { validate(code, "t"); }).found == "8");
  QTensor zero = good;
  zero.at.zero_points[1] = -9;
  CHECK(error_of([&] { validate(zero, "t"); }).field == "zero point 1");
  QTensor scale = good;
  scale.at.scales[2] = -1;
  CHECK(error_of([&] { validate(scale, "t"); }).field == "scale 2");
  QTensor bits = good;
  bits.spec.bits = 0;
  CHECK(error_of([&] { validate(bits, "t"); }).fault == Fault::input);
}

TEST_CASE("an empty matrix quantizes to an empty tensor") {
  for (const Granularity g : {Granularity::tensor, Granularity::channel}) {
    const QTensor q = absmax({}, 0, 8, {.granularity = g});
    CHECK(q.codes.empty());
    CHECK(dequantize(q).empty());
  }
}

}  // namespace qtensor_test
