// NF4: its levels by the construction that was published, and what sets it apart from integers.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "quant/kernels/round.h"
#include "quant/methods/plan.h"
#include "quant/numbers/format.h"
#include "quant/numbers/ranges.h"
#include "quant/serve/served_panels.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace nf4_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

const Spec kNf4{
    .bits = 4, .grid = GridKind::nf4, .granularity = Granularity::group, .group_size = 64};

/// The quantile of the normal distribution, by bisection of erfc.
double quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::numbers::sqrt2) / 2 < p ? low : high) = middle;
  }
  return low;
}

/// bitsandbytes' create_normal_map: n quantiles between `offset` and 0.5, that of 0.5 left out.
std::vector<double> quantiles(int n) {
  constexpr double kOffset = 0.9677083;
  std::vector<double> values;
  for (int i = 0; i < n; ++i) values.push_back(quantile(kOffset + (0.5 - kOffset) * i / n));
  return values;
}

TEST_CASE("NF4's levels are quantiles of the normal distribution") {
  std::vector<double> expected{0};
  for (const double v : quantiles(8)) expected.push_back(v);
  for (const double v : quantiles(7)) expected.push_back(-v);
  std::ranges::sort(expected);
  const double largest = expected.back();
  const Grid grid = grid_of(kNf4);
  REQUIRE(grid.levels.size() == 16);
  for (std::size_t i = 0; i < 16; ++i) {
    INFO(i);
    // The published numbers were made in float32.
    CHECK(std::fabs(double(grid.levels[i]) - expected[i] / largest) < 2e-7);
  }
  CHECK(grid.level(grid.qmin) == -1);
  CHECK(grid.level(0) == 0);
  CHECK(grid.level(grid.qmax) == 1);
}

TEST_CASE("an NF4 group's scale is its largest magnitude, zeros stay zeros") {
  std::vector<real> w = normal_matrix(2 * 128, 5, 0.02);
  std::fill(w.begin(), w.begin() + 64, real{0});
  const Scales at = choose_scales(w, 2, 128, kNf4, RangeRule::absmax, "t").at;
  const QTensor q = quantize(w, 2, 128, kNf4, at, "t");
  const std::vector<real> back = dequantize(q);
  for (std::size_t u = 1; u < 4; ++u) {
    const auto unit = std::span(w).subspan(64 * u, 64);
    const auto at_largest = std::ranges::max_element(unit, {}, [](real v) { return std::fabs(v); });
    CHECK(at.scales[u] == std::fabs(*at_largest));
    CHECK(back[static_cast<std::size_t>(64 * u) +
               static_cast<std::size_t>(at_largest - unit.begin())] == *at_largest);
  }
  for (std::size_t i = 0; i < 64; ++i) CHECK(back[i] == 0);
}

TEST_CASE("on normal weights NF4 loses three quarters of what INT4 does") {
  // E[(w - ŵ)²]/E[w²] for groups of 64 of a normal distribution, both by absmax, as
  // tests/fixtures/nf4_error.py prints them of 384,000 weights in double.
  const std::vector<real> w = normal_matrix(512 * 512, 6);
  const auto error = [&](Spec spec) {
    const std::vector<real> back = dequantize(quantize(
        w, 512, 512, spec, choose_scales(w, 512, 512, spec, RangeRule::absmax, "t").at, "t"));
    double lost = 0, all = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      lost += std::pow(double(w[i]) - double(back[i]), 2);
      all += std::pow(double(w[i]), 2);
    }
    return lost / all;
  };
  Spec integers = kNf4;
  integers.grid = GridKind::narrow;
  CHECK(error(kNf4) == Approx(0.00846).epsilon(0.01));
  CHECK(error(integers) == Approx(0.01156).epsilon(0.01));
}

TEST_CASE("NF4 is stored by index: bitsandbytes' numbering from 0") {
  // The codes of -1, 0 and 1 are indices 0, 7 and 15; the first of two is in the low bits.
  const std::vector<real> w{-1, 0, 1, 1};
  const Spec spec{.bits = 4, .grid = GridKind::nf4};
  const QTensor q = quantize(w, 1, 4, spec, {.scales = {1}}, "t");
  CHECK(q.codes == std::vector<std::int8_t>{-7, 0, 8, 8});
  CHECK(pack(q).codes == std::vector<std::uint8_t>{0x70, 0xff});
  CHECK(unpack(pack(q), "t") == q);
  CHECK(decode_codes(encode_codes(q.codes, grid_of(spec)), 4, grid_of(spec), "t") == q.codes);
  CHECK(name_of(kNf4) == "4-bit nf4 group 64 f32");
  CHECK(bits_per_weight(kNf4, 64, 64) == 4.5);
}

TEST_CASE("NF4 is refused with quantized activations") {
  const auto model = make_mlp();
  nn::Model& view = *model;
  const Spec spec{.bits = 4, .grid = GridKind::nf4};
  CHECK_NOTHROW(resolve({.weights = spec}, view));
  const ErrorParts e =
      error_of([&] { resolve({.weights = spec, .activations = ActivationSpec{}}, view); });
  CHECK(e.fault == Fault::usage);
  CHECK(e.field == "grid");
  CHECK(e.found == "nf4");
  CHECK(e.expected == "narrow, full, signed_max, asymmetric, ternary, seq");
  CHECK(error_of([&] { ServedPanels(spec, 16, 64); }).where == "integer weights");
}

}  // namespace nf4_test
