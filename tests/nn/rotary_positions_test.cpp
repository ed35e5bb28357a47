// The angles of rotary positions, plain and as Llama 3.1 scales them.
#include "nn/rotary_positions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/kernels/rotary.h"
#include "tests/catch.h"

namespace notch::nn::rotary_positions_test {

using Reals = std::vector<real>;

TEST_CASE("angles are made as far as they are used and stay where they are") {
  const RotaryPositions positions(3000, 4, 100);
  Reals whole(3000 * 4);
  kernels::rotary_table(whole, 3000, 4, 100);
  std::vector<const Tensor*> tables;
  // A few, twice as many, all: a request beyond the last is the op's to refuse.
  for (const auto& [used, made] : {std::pair<std::int64_t, std::int64_t>{10, 1024},
                                   {1024, 1024},
                                   {1025, 2048},
                                   {2049, 3000},
                                   {9999, 3000}}) {
    tables.push_back(&positions.table(used));
    CHECK(tables.back()->rows() == made);
  }
  for (const Tensor* t : tables)
    CHECK(std::ranges::equal(t->flat(), std::span(whole).first(t->flat().size())));
  CHECK(RotaryPositions(5, 4, 100).table(3).rows() == 5);
}

/// transformers' _compute_llama3_parameters (modeling_rope_utils.py), by wavelengths, as its inverse
/// frequency before over after.
double llama3_divisor(const RopeScaling& s, std::int64_t HS, double theta, int i) {
  const double frequency = std::pow(theta, -2.0 * i / static_cast<double>(HS));
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto context = static_cast<double>(s.original_context);
  if (wavelength < context / s.high_freq_factor) return 1;
  if (wavelength > context / s.low_freq_factor) return s.factor;
  const double smooth =
      (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return frequency / ((1 - smooth) * frequency / s.factor + smooth * frequency);
}

TEST_CASE("Llama 3.1 and 3.2 divide the angles of slow pairs") {
  // Heads of 128 and theta 500000: pair i turns once in 2 pi 500000^(i/64) positions, which is 2048
  // at i = 28.2 and 8192 at i = 35.0; so 29 pairs stay, six lie between, 29 are divided by 8.
  const std::vector<double> large = rope_divisors({.factor = 8}, 128, 5e5);
  CHECK(large.size() == 64);
  CHECK(std::ranges::count(large, 1.0) == 29);
  CHECK(std::ranges::count(large, 8.0) == 29);
  CHECK(large[32] == Approx(2.69453).epsilon(1e-5));  // 1 / (0.281283 + 0.718717 / 8)
  for (const auto& [scaling, HS] :
       {std::pair{RopeScaling{.factor = 8}, 128},
        {RopeScaling{.factor = 32}, 64},
        {RopeScaling{.factor = 4, .low_freq_factor = 0.5, .original_context = 100}, 6}}) {
    const std::vector<double> found = rope_divisors(scaling, HS, 5e5);
    for (int i = 0; i < HS / 2; ++i)
      CHECK(found[static_cast<std::size_t>(i)] == Approx(llama3_divisor(scaling, HS, 5e5, i)));
  }
  CHECK(rope_divisors({}, 64, 5e5).empty());
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const RopeScaling& bad : {RopeScaling{.factor = 0.5}, RopeScaling{.factor = kNan},
                                 RopeScaling{.factor = 2, .low_freq_factor = 4},
                                 RopeScaling{.factor = 2, .low_freq_factor = 0},
                                 RopeScaling{.factor = 2, .original_context = 0}}) {
    CHECK(test::error_of([&] { rope_divisors(bad, 4, 100); }).fault == Fault::usage);
  }
}

TEST_CASE("an angle divided by 8 is that of an eighth of the position") {
  // theta 1 and a context of 6 = 0.95 turns: every pair is slow, and is divided whole.
  const RotaryPositions scaled(80, 4, 1, {.factor = 8, .original_context = 6}), plain(10, 4, 1);
  const auto turned = scaled.table(80).flat(), straight = plain.table(10).flat();
  for (std::size_t t = 0; t < 10; ++t)
    CHECK(std::ranges::equal(turned.subspan(8 * t * 4, 4), straight.subspan(t * 4, 4)));
  CHECK_FALSE(std::ranges::equal(turned.subspan(4, 4), straight.subspan(4, 4)));
}

}  // namespace notch::nn::rotary_positions_test
