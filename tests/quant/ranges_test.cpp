#include "quant/numbers/ranges.h"

#include <cmath>
#include <limits>

#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/numbers/observers.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace ranges_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::error_of;
using notch::test::normal_matrix;

/// Σ (w - ŵ)² of a unit, written from the definition, without the kernels.
double error_at(std::span<const real> unit, const UnitScale& at, const Spec& spec) {
  const Grid grid = grid_of(spec);
  double sum = 0;
  for (const real w : unit) {
    const double steps = double(w / at.scale);
    if (!grid.levels.empty()) {
      const real level = *std::ranges::min_element(
          grid.levels, {}, [&](real l) { return std::fabs(double(l) - steps); });
      sum += std::pow(double(w) - double(level * at.scale), 2);
      continue;
    }
    const double q =
        grid.step == 2 ? 2 * std::floor(steps / 2) + 1 : std::nearbyint(steps) + at.zero_point;
    const double clamped = std::min(std::max(q, double(grid.qmin)), double(grid.qmax));
    const real back = static_cast<real>(clamped - at.zero_point) * at.scale;
    sum += std::pow(double(w) - double(back), 2);
  }
  return sum;
}

TEST_CASE("the searched range is the best candidate, no worse than absmax") {
  constexpr std::int64_t kRows = 3, kCols = 48;
  const std::vector<real> w = normal_matrix(kRows * kCols, 1, 0.02);
  for (const Spec& spec : all_specs(16)) {
    if (spec.scale == ScaleType::bf16) continue;
    INFO(name_of(spec));
    const Ranges ranges = choose_scales(w, kRows, kCols, spec, RangeRule::mse, "t");
    const std::size_t unit = static_cast<std::size_t>(unit_size(spec, kRows, kCols));
    for (std::size_t u = 0; u < ranges.ratios.size(); ++u) {
      const std::span<const real> weights(w.data() + u * unit, unit);
      const UnitScale chosen = scale_unit(weights, spec, ranges.ratios[u]);
      REQUIRE(chosen.scale == ranges.at.scales[u]);
      if (has_zero_points(spec)) REQUIRE(chosen.zero_point == ranges.at.zero_points[u]);
      const double found = error_at(weights, chosen, spec);
      double least = error_at(weights, scale_unit(weights, spec, 1), spec);
      for (int k = 20; k <= 100; ++k) {
        const real ratio = static_cast<real>(k) / 100;
        least = std::min(least, error_at(weights, scale_unit(weights, spec, ratio), spec));
      }
      CHECK(found <= least * (1 + 1e-12));
    }
  }
}

TEST_CASE("a Gaussian row's best range is below half at 2 bits, not at 8") {
  // The step of least error for a Gaussian at 2 bits is near 1.06 sigma; the absmax of 4096 numbers
  // is about 3.6 sigma. At 8 bits clipping costs more than resolution.
  const std::vector<real> w = normal_matrix(4096, 2);
  const real two = best_ratio(w, {.bits = 2, .grid = GridKind::full});
  CHECK(two < real(0.5));
  CHECK(two >= real(0.2));
  CHECK(best_ratio(w, {.bits = 8}) > real(0.9));
}

TEST_CASE("no ratio beats the best one, the bounds skip none that counts") {
  for (const Spec& spec : all_specs(64)) {
    for (const std::int64_t n : {1, 17, 600, 5000}) {
      // Ordinary, nearly on the grid (errors near 0), very small and very large weights.
      for (const auto& [size, rounded] : {std::pair{1.0f, false},
                                          {1.0f, true},
                                          {1e-37f, false},
                                          {1e-20f, false},
                                          {1e30f, false}}) {
        std::vector<real> w = normal_matrix(n, 3);
        for (real& v : w) v = (rounded ? std::nearbyint(8 * v) / 8 : v) * size;
        if (!(std::fabs(double(scale_unit(w, spec, 1).scale)) < 1e38)) continue;  // not in f16
        const auto error = [&](real ratio) {
          const UnitScale at = scale_unit(w, spec, ratio);
          return squared_error(w, at.scale, at.zero_point, grid_of(spec));
        };
        real best = 1;
        for (int percent = 99; percent >= 20; --percent) {
          const real ratio = static_cast<real>(percent) / static_cast<real>(100);
          if (error(ratio) < error(best)) best = ratio;
        }
        INFO(name_of(spec) << ", " << n << " weights of size " << size);
        CHECK(best_ratio(w, spec) == best);
      }
    }
  }
}

TEST_CASE("equal errors prefer the larger range") {
  CHECK(best_ratio(std::vector<real>{7, -3, 2, 0}, {.bits = 4}) == 1);
  CHECK(best_ratio(std::vector<real>{0, 0, 0}, {.bits = 4}) == 1);
  // With f16 scales this small, all ratios round to the same stored scale: a tie of all 81.
  CHECK(best_ratio(std::vector<real>{1e-9f, -3e-9f}, {.bits = 4, .scale = ScaleType::f16}) == 1);
}

TEST_CASE("absmax puts the extreme weights on the ends of every grid") {
  const std::vector<real> w{-0.6f, 0.1f, 0.3f};
  CHECK(scale_unit(w, {.bits = 4, .grid = GridKind::narrow}, 1).scale == 0.6f / 7);
  CHECK(scale_unit(w, {.bits = 4, .grid = GridKind::full}, 1).scale == 0.6f / 7);
  CHECK(scale_unit(w, {.bits = 4, .grid = GridKind::signed_max}, 1).scale == 0.6f / 8);
  const UnitScale at = scale_unit(w, {.bits = 4, .grid = GridKind::asymmetric}, 1);
  // The outer cells belong to the range: 1.5 codes for ternary, 2^b half-cells for seq.
  CHECK(scale_unit(w, {.bits = 2, .grid = GridKind::ternary}, 1).scale == 0.6f / 1.5f);
  CHECK(scale_unit(w, {.bits = 2, .grid = GridKind::seq}, 1).scale == 0.6f / 4);
  CHECK(scale_unit(w, {.bits = 1, .grid = GridKind::seq}, 1).scale == 0.6f / 2);
  CHECK(at.scale == Approx(0.9 / 15).epsilon(1e-6));
  CHECK(at.zero_point == 2);  // -8 + 0.6/0.06
}

TEST_CASE("an asymmetric range includes zero, so zero is exact") {
  for (const std::vector<real>& w :
       {std::vector<real>{1, 2, 3}, std::vector<real>{-1, -2, -3}, std::vector<real>{-1, 0, 5}}) {
    const Spec spec{.bits = 4, .grid = GridKind::asymmetric};
    const UnitScale at = scale_unit(w, spec, 1);
    std::vector<real> out(1);
    const std::vector<std::int8_t> z{static_cast<std::int8_t>(at.zero_point)};
    fake_quant(out, std::vector<real>{0}, {std::vector<real>{at.scale}, z, 1}, {-8, 7});
    CHECK(out[0] == 0);
    CHECK(at.zero_point >= -8);
    CHECK(at.zero_point <= 7);
  }
}

TEST_CASE("the paper's LSQ step is 2 mean|w| / sqrt(qmax)") {
  // Worked by hand: v = (.37, .95, -1.2, .04), qmax 7: 2·0.64/sqrt(7) = 0.483795.
  const std::vector<real> w{0.37f, 0.95f, -1.2f, 0.04f};
  const Ranges ranges =
      choose_scales(w, 1, 4, {.bits = 4, .grid = GridKind::full}, RangeRule::lsq_paper, "t");
  CHECK(ranges.at.scales[0] == Approx(0.483795).epsilon(1e-6));
  CHECK(ranges.ratios[0] == Approx(0.483795 / (1.2 / 7)).epsilon(1e-6));
  CHECK(error_of([&] {
          choose_scales(w, 1, 4, {.grid = GridKind::asymmetric}, RangeRule::lsq_paper, "t");
        }).fault == Fault::usage);
}

TEST_CASE("the best sign of a row is its mean magnitude") {
  // min over s of Σ (|w| - s)² is s = mean|w|.
  const std::vector<real> w = normal_matrix(4096, 5);
  double mean = 0, most = 0;
  for (const real v : w) {
    mean += std::abs(double(v)) / 4096;
    most = std::max(most, std::abs(double(v)));
  }
  const Spec sign{.bits = 1, .grid = GridKind::seq};
  const double found = double(scale_unit(w, sign, best_ratio(w, sign)).scale);
  CHECK(std::abs(found - mean) <= 0.005 * most / 2 * 1.001);
}

TEST_CASE("a unit of zeros has scale 1, or the smallest without zero code") {
  const std::vector<real> w(8, real{0});
  const real smallest = std::numeric_limits<real>::denorm_min();
  CHECK(scale_unit(w, {.bits = 2, .grid = GridKind::seq}, 1).scale == smallest);
  CHECK(choose_unit(w, {.bits = 1, .grid = GridKind::seq}, RangeRule::mse).at.scale == smallest);
  for (const Spec& spec : all_specs(4)) {
    if (spec.grid == GridKind::seq) continue;
    CHECK(scale_unit(w, spec, real(0.5)).scale == 1);
    CHECK(scale_unit(w, spec, real(0.5)).zero_point == 0);
    for (const RangeRule rule : {RangeRule::absmax, RangeRule::mse, RangeRule::lsq_paper}) {
      if (rule == RangeRule::lsq_paper && has_zero_points(spec)) continue;
      const Ranges ranges = choose_scales(w, 1, 8, spec, rule, "t");
      for (const real s : ranges.at.scales) CHECK(s == 1);
      for (const std::int8_t z : ranges.at.zero_points) CHECK(int{z} == 0);
    }
  }
}

TEST_CASE("a scale that its type cannot hold is an error, not a clip") {
  const std::vector<real> w{1e6f, -2e6f, 1, 1};
  const auto e = error_of([&] {
    choose_scales(w, 2, 2, {.bits = 4, .scale = ScaleType::f16}, RangeRule::absmax, "wte");
  });
  CHECK(e.fault == Fault::numeric);
  CHECK(e.where == "wte");
  CHECK(e.field == "row 0");
  CHECK_NOTHROW(
      choose_scales(w, 2, 2, {.bits = 4, .scale = ScaleType::bf16}, RangeRule::absmax, "wte"));
}

TEST_CASE("scales do not depend on the number of threads") {
  const std::vector<real> w = normal_matrix(40 * 96, 8);
  for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
    const Spec spec{.bits = 3, .granularity = g, .group_size = g == Granularity::group ? 32 : 0};
    set_threads(1);
    const Ranges one = choose_scales(w, 40, 96, spec, RangeRule::mse, "t");
    set_threads(3);
    const Ranges three = choose_scales(w, 40, 96, spec, RangeRule::mse, "t");
    CHECK(one.at.scales == three.at.scales);
    CHECK(one.ratios == three.ratios);
  }
  set_threads(0);
}

TEST_CASE("percentile and entropy weight ranges are those of observers") {
  constexpr std::int64_t kRows = 6, kCols = 96;
  const std::vector<real> w = normal_matrix(kRows * kCols, 11);
  for (const Granularity granularity :
       {Granularity::tensor, Granularity::channel, Granularity::group}) {
    for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric}) {
      const Spec spec{.bits = 4,
                      .grid = grid,
                      .granularity = granularity,
                      .group_size = granularity == Granularity::group ? 32 : 0};
      for (const auto& [rule, observed] :
           {std::pair{RangeRule::percentile, ObserverRule::percentile},
            {RangeRule::entropy, ObserverRule::entropy}}) {
        const Ranges ranges = choose_scales(w, kRows, kCols, spec, rule, "t", 90);
        const auto unit = static_cast<std::size_t>(unit_size(spec, kRows, kCols));
        for (std::size_t u = 0; u * unit < w.size(); ++u) {
          Observer observer({.bits = 4,
                             .symmetric = grid == GridKind::narrow,
                             .range = ActivationRange::fixed,
                             .observer = observed,
                             .percentile = 90});
          observer.observe(std::span(w).subspan(u * unit, unit));
          const UnitScale expected = scale_range(observer.range(), spec, 1);
          CHECK(ranges.at.scales[u] == Approx(expected.scale).epsilon(1e-6));
          if (grid == GridKind::asymmetric) {
            CHECK(ranges.at.zero_points[u] == expected.zero_point);
          }
          CHECK(ranges.ratios[u] <= 1);
        }
        if (rule == RangeRule::percentile) CHECK(ranges.ratios[0] < real(0.9));
      }
    }
  }
}

TEST_CASE("entropy does not clip a short row to nothing") {
  // Few values, none of them small: every threshold below them has one bin to compare.
  const std::vector<real> w{1, real(0.9), -1, real(-0.8), real(0.95), real(0.7)};
  for (const int bits : {8, 4, 2}) {
    const Ranges ranges = choose_scales(w, 1, 6, {.bits = bits}, RangeRule::entropy, "t");
    CHECK(ranges.ratios[0] >= real(0.7));
  }
}

}  // namespace ranges_test
