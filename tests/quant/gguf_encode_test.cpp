// llama.cpp's encoders: bytes by hand, and properties of ggml-quants.c's quantize_row_*_ref written out a
// second time in double.
#include "quant/store/gguf_encode.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "quant/store/gguf_blocks.h"
#include "tests/catch.h"

namespace gguf_encode_test {

using namespace notch;
using namespace notch::quant;

const nn::GgufType& type(std::string_view name) { return *nn::gguf_type(name); }

std::vector<std::byte> encoded(std::string_view name, const std::vector<real>& x,
                               std::span<const float> importance = {}) {
  std::vector<std::byte> block;
  encode_blocks(type(name), x, block, importance);
  return block;
}

TEST_CASE("encoders choose llama.cpp's scales and codes") {
  Rng rng(5, 2);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<real> x(32);
    for (real& v : x) v = static_cast<real>(rng.normal());
    if (trial == 0) std::ranges::fill(x, real{0});
    for (const auto& [name, bits, with_minimum] : {std::tuple{"Q4_0", 4, false},
                                                   {"Q5_0", 5, false},
                                                   {"Q4_1", 4, true},
                                                   {"Q5_1", 5, true},
                                                   {"Q8_0", 8, false}}) {
      CAPTURE(name, trial);
      const std::vector<std::byte> block = encoded(name, x);
      REQUIRE(std::ssize(block) == type(name).bytes);
      std::vector<real> back(32);
      decode_blocks(type(name), block, back);
      // A code is the nearest one, so the error is half a step; the clamped end of the signed ranges
      // loses up to a whole one, and d is rounded to a half.
      float largest = 0;
      for (const real v : x) largest = std::max(largest, std::abs(static_cast<float>(v)));
      const auto [low, high] = std::ranges::minmax(x);
      const double step = with_minimum ? (double{high} - double{low}) / ((1 << bits) - 1)
                          : bits == 8  ? largest / 127.0
                                       : largest / std::exp2(bits - 1);
      for (std::size_t j = 0; j < 32; ++j) {
        const double bound =
            step * (with_minimum || bits == 8 ? 0.5 : 1.0) + 2e-3 * (largest + 1e-9);
        CHECK(std::abs(double{back[j]} - double{x[j]}) <= bound);
      }
      // The value of largest magnitude is the end that has a code: exact up to d's rounding.
      if (!with_minimum && bits < 8) {
        const auto extreme = std::ranges::max_element(x, {}, [](real v) { return std::abs(v); });
        CHECK(double{back[static_cast<std::size_t>(extreme - x.begin())]} ==
              Approx(double{*extreme}).epsilon(1e-3).margin(1e-9));
      }
    }
  }
}

// Bytes by hand from ggml-quants.c's quantize_row_tq1_0_ref, quantize_row_tq2_0_ref and quantize_row_iq4_nl_impl.
TEST_CASE("ternary and uneven blocks of floats by hand") {
  // d = 0.5. Weights 7, 39, 71, 103 and 135 are the digits of TQ1_0's byte 7, 0.25 / 0.5 rounds away from 0.
  std::vector<real> x(256);
  x[7] = real(0.5), x[39] = real(-0.5), x[71] = real(0.25), x[103] = real(-0.1), x[135] = real(0.2);
  x[200] = real(-0.3);
  // Base 3: 11111 = 121, and ceil(121 · 256 / 243) = 128; 11110 = 120, 127; 20211 = 184, 194; the
  // second run's weight 200 is digit 2 of byte 32 + 8: 11011 = 112, 118.
  std::vector<std::byte> tq1(52, std::byte{128});
  std::ranges::fill(std::span(tq1).last(4), std::byte{127});
  tq1[7] = std::byte{194}, tq1[40] = std::byte{118};
  tq1.push_back(std::byte{0x00}), tq1.push_back(std::byte{0x38});
  CHECK(encoded("TQ1_0", x) == tq1);
  // TQ2_0: two bits each, the first lowest: 01010101; byte 7 has 2, 0, 2, 1; weight 200 is in byte 32 + 8, third.
  std::vector<std::byte> tq2(64, std::byte{0x55});
  tq2[7] = std::byte{0x62}, tq2[40] = std::byte{0x45};
  tq2.push_back(std::byte{0x00}), tq2.push_back(std::byte{0x38});
  CHECK(encoded("TQ2_0", x) == tq2);
  for (const char* name : {"TQ1_0", "TQ2_0"}) {
    std::vector<real> back(256), expected(256);
    decode_blocks(type(name), encoded(name, x), back);
    expected[7] = expected[71] = real(0.5), expected[39] = expected[200] = real(-0.5);
    CHECK(back == expected);
  }

  // The levels themselves, times ±2^-7 (0x2000, 0xa000): ascending in the low halves of the bytes, descending in
  // the high ones. A scale that holds all weights is the best, whatever their importance.
  const std::vector<int> levels{-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
  for (const int sign : {1, -1}) {
    std::vector<real> w(32);
    std::vector<std::byte> expected{std::byte{0}, std::byte(sign > 0 ? 0x20 : 0xa0)};
    for (std::size_t j = 0; j < 16; ++j) {
      w[j] = static_cast<real>(sign * levels[j]) / 128;
      w[j + 16] = static_cast<real>(sign * levels[15 - j]) / 128;
      expected.push_back(static_cast<std::byte>(j | (15 - j) << 4));
    }
    std::vector<float> importance(32);
    for (std::size_t j = 0; j < 32; ++j) importance[j] = static_cast<float>(1 + j % 5);
    CHECK(encoded("IQ4_NL", w) == expected);
    CHECK(encoded("IQ4_NL", w, importance) == expected);
    std::vector<real> back(32);
    decode_blocks(type("IQ4_NL"), expected, back);
    CHECK(back == w);
  }
  // Zeros: d = 0, and the level nearest to 0 is 1, the ninth.
  std::vector<std::byte> nothing(18, std::byte{0x88});
  nothing[0] = nothing[1] = std::byte{0};
  CHECK(encoded("IQ4_NL", std::vector<real>(32)) == nothing);
  CHECK(encoded("IQ4_NL", std::vector<real>(32, real{1}), std::vector<float>(32)) == nothing);
}

TEST_CASE("uneven levels suit normal weights and heed an importance") {
  // Relative root mean square errors of llama.cpp's own files of normal weights: Q4_0 8.59 %, IQ4_NL 7.61 %.
  Rng rng(12, 1);
  std::vector<real> w(32 * 4000), back(w.size());
  std::vector<float> importance(w.size());
  for (real& v : w) v = static_cast<real>(rng.normal());
  for (std::size_t i = 0; i < w.size(); ++i) importance[i] = i % 4 == 0 ? 20.0f : 1.0f;
  // Over all weights, and over the important ones.
  const auto errors = [&](std::string_view name, std::span<const float> of) {
    std::vector<std::byte> blocks;
    encode_blocks(type(name), w, blocks, of);
    decode_blocks(type(name), blocks, back);
    double error = 0, squares = 0, important = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double off = double{back[i]} - double{w[i]};
      error += off * off, squares += double{w[i]} * double{w[i]};
      if (i % 4 == 0) important += off * off;
    }
    return std::pair(std::sqrt(error / squares), important);
  };
  const auto [uneven, before] = errors("IQ4_NL", {});
  CHECK(uneven == Approx(0.0761).epsilon(0.01));
  CHECK(errors("Q4_0", {}).first == Approx(0.0859).epsilon(0.01));
  CHECK(errors("IQ4_NL", importance).second < 0.9 * before);
}

TEST_CASE("the encoders that are named encode, and those that weigh do") {
  Rng rng(7, 3);
  std::vector<real> w(256);
  std::vector<float> importance(w.size());
  for (real& v : w) v = static_cast<real>(rng.normal());
  for (std::size_t i = 0; i < w.size(); ++i) importance[i] = i % 4 == 0 ? 20.0f : 1.0f;
  const std::vector<std::string_view> weighed = encoder_names(Columns::weighed);
  for (const std::string_view name : encoder_names()) {
    CAPTURE(name);
    REQUIRE(nn::gguf_type(name));
    CHECK(has_encoder(type(name)));
    const std::vector<std::byte> plain = encoded(name, w);
    CHECK(std::ssize(plain) == 256 / type(name).block * type(name).bytes);
    const bool is_weighed = std::ranges::find(weighed, name) != weighed.end();
    CHECK(weighs_columns(type(name)) == is_weighed);
    CHECK((encoded(name, w, importance) != plain) == is_weighed);
  }
  CHECK_FALSE(has_encoder(type("Q4_K")));
  CHECK_THROWS_AS(encoded("Q4_K", w), Error);
}

TEST_CASE("a number that is no level has no place in a block") {
  SmallBlock block{.d = 1};
  block.q.fill(kIq4NlLevels[3]);
  std::vector<std::byte> bytes;
  pack_small(type("IQ4_NL"), block, bytes);
  CHECK(bytes.back() == std::byte{0x33});
  block.q[5] = 0;  // between two of them
  CHECK_THROWS_AS(pack_small(type("IQ4_NL"), block, bytes), Error);
}

}  // namespace gguf_encode_test
