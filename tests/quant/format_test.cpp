// The table of grids, and codebooks at the level of kernels: against the definition, in double.
#include "quant/numbers/format.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "quant/kernels/fake_quant.h"
#include "quant/kernels/oscillation.h"
#include "quant/kernels/round.h"
#include "quant/methods/column_update.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace format_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

using Reals = std::vector<real>;

/// Uneven levels, a zero among them; five, so that tables have entries to spare.
const Reals kLevels{-1, real(-0.3), 0, real(0.125), real(0.75)};
const Grid kCodebook{.qmin = -2, .qmax = 2, .levels = kLevels};

/// The code whose level is nearest to v, the lower one where two are.
int nearest_by_hand(double v, const Grid& grid) {
  int best = grid.qmin;
  for (int q = grid.qmin; q <= grid.qmax; ++q) {
    if (std::fabs(v - double(grid.level(q))) < std::fabs(v - double(grid.level(best)))) best = q;
  }
  return best;
}

TEST_CASE("each format has a name of its own and levels at all its widths") {
  std::set<std::string_view> names;
  for (const Format& f : formats()) {
    INFO(f.name);
    CHECK(names.insert(f.name).second);
    CHECK(&format_of(f.kind) == &f);
    CHECK(parse_grid(f.name, "t") == f.kind);
    CHECK(name_of(f.kind) == f.name);
    CHECK(grid_help().find(f.name) != std::string::npos);
    CHECK(grid_help().find(f.help) != std::string::npos);
    CHECK(grid_help().find(str(f.bits_text(), " bits: ")) != std::string::npos);
    REQUIRE(f.fewest_bits <= f.most_bits);
    for (int bits = f.fewest_bits; bits <= f.most_bits; ++bits) {
      const Grid grid = f.grid(bits);
      CHECK(grid.size() <= 1 << bits);
      // A float type spends codes on -0, on not a number and on infinities.
      const int wasted = grid.mantissa == 0 ? 1 : 2 + (2 << grid.mantissa);
      CHECK(grid.size() >= (f.packing == Packing::trits ? 3 : (1 << bits) - wasted));
      CHECK(grid.qmin >= -128);
      CHECK(grid.qmax <= 127);
      CHECK((grid.levels.empty() || std::ssize(grid.levels) == grid.size()));
      CHECK(grid.size() <= (grid.levels.empty() || grid.mantissa > 0 ? 256 : kMostLevels));
      if (f.has_own_levels()) {  // no one takes a code for a level of the grid's
        for (int q = grid.qmin; q <= grid.qmax; ++q) CHECK(std::isnan(grid.level(q)));
        continue;
      }
      for (int q = grid.qmin + grid.step; q <= grid.qmax; q += grid.step) {
        CHECK(grid.level(q - grid.step) < grid.level(q));
      }
      for (int q = grid.qmin; q <= grid.qmax; q += grid.step) {
        CHECK(grid.has(q));
        CHECK(grid.nearest(grid.level(q)) == q);
      }
      CHECK_FALSE(grid.has(grid.qmax + grid.step));
      CHECK_FALSE(grid.has(grid.qmin - grid.step));
      // Bits are too few for another code, and enough for these.
      CHECK(packed_bytes({.bits = bits, .grid = f.kind}, 40) * 8 <= 40 * bits);
    }
    CHECK_FALSE(f.has_bits(f.fewest_bits - 1));
    CHECK_FALSE(f.has_bits(f.most_bits + 1));
  }
  CHECK(std::ssize(grid_names()) == std::ssize(formats()));
  CHECK(grids_with([](const Format& f) { return f.has_bits(1); }) == "seq");
  CHECK(grids_with(&Format::has_zero_points) == "asymmetric");
  CHECK(grids_with(&Format::has_signed_scale) == "signed_max");
}

TEST_CASE("a codebook's code is the nearest level's, a tie's the lower") {
  Reals values = normal_matrix(4000, 1);
  for (std::size_t i = 1; i < kLevels.size(); ++i) {
    const real tie = (kLevels[i - 1] + kLevels[i]) / 2;
    for (const real v : {tie, std::nextafter(tie, real{-9}), std::nextafter(tie, real{9})}) {
      values.push_back(v);
    }
    CHECK(kCodebook.nearest(tie) == kCodebook.qmin + static_cast<int>(i) - 1);
    CHECK(kCodebook.nearest(std::nextafter(tie, real{9})) == kCodebook.qmin + static_cast<int>(i));
  }
  std::vector<std::int8_t> codes(values.size());
  const Reals one{1};
  round_codes(codes, values, {one, {}, std::ssize(values)}, kCodebook);
  for (std::size_t i = 0; i < values.size(); ++i) {
    INFO(values[i]);
    CHECK(codes[i] == kCodebook.nearest(values[i]));
    const double chosen = std::fabs(double(values[i]) - double(kCodebook.level(codes[i])));
    const int best = nearest_by_hand(double(values[i]), kCodebook);
    const double least = std::fabs(double(values[i]) - double(kCodebook.level(best)));
    CHECK(chosen <= least + double(std::numeric_limits<real>::epsilon()));
  }
  const real inf = std::numeric_limits<real>::infinity();
  CHECK(kCodebook.nearest(inf) == 2);
  CHECK(kCodebook.nearest(-inf) == -2);
  CHECK(kCodebook.nearest(0) == 0);
  CHECK(kCodebook.nearest(real{-0.0}) == 0);
}

TEST_CASE("a codebook's fake weights are its dequantized codes, NaN stays") {
  constexpr std::int64_t kUnit = 37;
  const Reals scales{real(0.3), real(2)}, w = normal_matrix(2 * kUnit, 2);
  const Units units{scales, {}, kUnit};
  std::vector<std::int8_t> codes(w.size());
  Reals fake(w.size()), back(w.size());
  round_codes(codes, w, units, kCodebook);
  dequantize_codes(back, codes, units, kCodebook);
  fake_quant(fake, w, units, kCodebook);
  CHECK(same_bits(fake, back));
  double squares = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const real scale = scales[i / kUnit];
    const int q = nearest_by_hand(double(w[i] / scale), kCodebook);
    CHECK(codes[i] == q);
    CHECK(back[i] == kCodebook.level(q) * scale);
    if (i < kUnit) squares += std::pow(double(w[i]) - double(back[i]), 2);
  }
  CHECK(squared_error(std::span(w).first(kUnit), scales[0], 0, kCodebook) ==
        Approx(squares).epsilon(1e-12));
  Reals odd{std::nanf(""), std::numeric_limits<real>::infinity()};
  fake_quant(odd, odd, {std::span(scales).first(1), {}, 2}, kCodebook);
  CHECK(std::isnan(odd[0]));
  CHECK(odd[1] == real(0.75) * real(0.3));
}

TEST_CASE("gradients on a codebook: a mask, and the step's by its levels") {
  // v: inside between two levels, below, above, at the ends.
  const Reals v{real(-0.7), real(-1.5), real(0.9), -1, real(0.75), real(0.1)};
  const Reals mask{1, 0, 0, 1, 1, 1};
  // level(v) - v inside, the end outside and at the ends (LSQ's eq. 3 with levels for codes).
  const std::vector<double> slope{-1 + 0.7, -1, 0.75, -1, 0.75, 0.125 - 0.1};
  const Reals dout{1, 2, 4, 8, 16, 32}, scales{real(0.5)};
  Reals w;
  for (const real x : v) w.push_back(x * scales[0]);
  const Units units{scales, {}, std::ssize(w)};
  Reals ste(6), lsq(6), dlog(1), pull(6);
  clipped_ste_backward(ste, dout, w, units, kCodebook);
  lsq_backward(lsq, dlog, dout, w, units, kCodebook, 0.25);
  dampen_backward(pull, w, units, kCodebook, 0.5);
  double sum = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(ste[i] == mask[i] * dout[i]);
    CHECK(lsq[i] == mask[i] * dout[i]);
    sum += double(dout[i]) * slope[i];
    const double gap = double(w[i]) - 0.5 * double(kCodebook.level(kCodebook.nearest(v[i])));
    CHECK(double(pull[i]) == Approx(double(mask[i]) * gap).margin(1e-6));
  }
  CHECK(double(dlog[0]) == Approx(0.25 * 0.5 * sum).epsilon(1e-6));
}

TEST_CASE("GPTQ's columns round to a codebook as every quantizer does") {
  const auto rows = static_cast<std::size_t>(kStripRows);
  const Reals target = normal_matrix(kStripRows, 3), original = normal_matrix(kStripRows, 4);
  const Reals scale(rows, real(0.6)), lo(rows, kCodebook.lowest()), hi(rows, kCodebook.highest());
  Reals moved(rows), back(rows), forecast(rows);
  std::vector<double> losses(rows);
  std::vector<std::int16_t> codes(rows);
  const StripColumn column{.target = target.data(),
                           .original = original.data(),
                           .scale = scale.data(),
                           .lo = lo.data(),
                           .hi = hi.data(),
                           .grid = &kCodebook,
                           .moved = moved.data(),
                           .losses = losses.data(),
                           .codes = codes.data()};
  round_column(column, 2);
  forecast_losses(column, 2, forecast.data());
  fake_quant(back, target, {scale, {}, 1}, kCodebook);
  for (std::size_t r = 0; r < rows; ++r) {
    CHECK(kCodebook.level(codes[r]) * scale[r] == back[r]);
    CHECK(moved[r] == original[r] - back[r]);
    CHECK(losses[r] == Approx(4 * std::pow(double(target[r]) - double(back[r]), 2)));
    CHECK(double(forecast[r]) == Approx(losses[r]).epsilon(1e-5).margin(1e-9));
  }
}

}  // namespace format_test
