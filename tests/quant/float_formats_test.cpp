// FP8, FP4 and power-of-two scales: every code against a decoder of its bits, rounding against a
// search of all levels in double. Sources: Micikevicius et al. 2022 (arXiv:2209.05433), table 1; OCP
// Microscaling Formats 1.0, sections 5.3, 5.4 and 6.3.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/ranges.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/pack.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace float_formats_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// S.1111.111 is not a number, there is no infinity.
double decode_e4m3(int byte) {
  const int exponent = byte >> 3 & 15, fraction = byte & 7;
  const double sign = byte & 128 ? -1 : 1;
  if (exponent == 15 && fraction == 7) return kNan;
  return exponent == 0 ? sign * std::ldexp(fraction, -9)
                       : sign * std::ldexp(8 + fraction, exponent - 7 - 3);
}
/// As IEEE 754: exponent 31 is infinity, and not a number with a fraction.
double decode_e5m2(int byte) {
  const int exponent = byte >> 2 & 31, fraction = byte & 3;
  const double sign = byte & 128 ? -1 : 1;
  if (exponent == 31) return fraction == 0 ? sign * kInfinity : kNan;
  return exponent == 0 ? sign * std::ldexp(fraction, -16)
                       : sign * std::ldexp(4 + fraction, exponent - 15 - 2);
}
double decode_e2m1(int nibble) {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return (nibble & 8 ? -1 : 1) * kMagnitudes[nibble & 7];
}

struct FloatType {
  GridKind kind;
  int bits;
  double (*decode)(int);
};
constexpr FloatType kTypes[] = {{GridKind::e4m3, 8, decode_e4m3},
                                {GridKind::e5m2, 8, decode_e5m2},
                                {GridKind::fp4, 4, decode_e2m1}};

/// The code of the nearest number, of two the one whose last bit is 0: by looking at all of them.
int nearest_by_hand(const FloatType& type, double v) {
  v = std::clamp(v, -1e6, 1e6);  // beyond, doubles do not tell the last numbers apart
  int best = 0;
  double least = kInfinity;
  for (int magnitude = 0; magnitude < 1 << (type.bits - 1); ++magnitude) {
    const double level = type.decode(magnitude);
    if (!std::isfinite(level)) continue;
    const double distance = std::fabs(std::fabs(v) - level);
    if (distance < least || (distance == least && magnitude % 2 == 0)) {
      best = magnitude;
      least = distance;
    }
  }
  return v < 0 ? -best : best;
}

TEST_CASE("all codes of float types are what their bits say") {
  for (const FloatType& type : kTypes) {
    const Grid grid = grid_of({.bits = type.bits, .grid = type.kind});
    INFO(name_of(type.kind));
    int numbers = 0;
    for (int byte = 0; byte < 1 << type.bits; ++byte) {
      const double value = type.decode(byte);
      if (!std::isfinite(value)) continue;
      const int sign = 1 << (type.bits - 1), magnitude = byte & (sign - 1);
      if (byte == sign) continue;  // -0
      ++numbers;
      const int code = byte & sign ? -magnitude : magnitude;
      REQUIRE(grid.has(code));
      CHECK(double(grid.level(code)) == value);
      CHECK(grid.nearest(static_cast<real>(value)) == code);
    }
    CHECK(numbers == grid.size());
    CHECK(std::ssize(grid.levels) == grid.size());
  }
  const auto largest = [](GridKind kind, int bits) {
    return grid_of({.bits = bits, .grid = kind}).highest();
  };
  CHECK(largest(GridKind::e4m3, 8) == 448);
  CHECK(largest(GridKind::e5m2, 8) == 57344);
  CHECK(largest(GridKind::fp4, 4) == 6);
}

TEST_CASE("float types round half to even, subnormals too, and saturate") {
  for (const FloatType& type : kTypes) {
    INFO(name_of(type.kind));
    const Grid grid = grid_of({.bits = type.bits, .grid = type.kind});
    std::vector<real> values{0, real(-0.0), 1e30f, -1e30f, grid.highest() * 2, grid.lowest() * 2};
    for (std::size_t i = 1; i < grid.levels.size(); ++i) {
      const real tie = (grid.levels[i - 1] + grid.levels[i]) / 2;  // exact: few bits
      for (const real v : {tie, std::nextafter(tie, real{-1e9}), std::nextafter(tie, real{1e9})}) {
        values.push_back(v);
      }
    }
    for (const real v : normal_matrix(500, 1, double(grid.highest()) / 3)) values.push_back(v);
    for (const real v : normal_matrix(500, 2, 0.01)) values.push_back(v);
    for (const real v : normal_matrix(200, 3, 3e-5)) values.push_back(v);
    std::vector<std::int8_t> codes(values.size());
    std::vector<real> fake(values.size());
    const std::vector<real> one{1};
    const Units units{one, {}, std::ssize(values)};
    round_codes(codes, values, units, grid);
    fake_quant(fake, values, units, grid);
    for (std::size_t i = 0; i < values.size(); ++i) {
      INFO(values[i]);
      CHECK(codes[i] == nearest_by_hand(type, double(values[i])));
      CHECK(fake[i] == grid.level(codes[i]));
      CHECK_FALSE(std::signbit(fake[i] + real{0}) != (codes[i] < 0));
    }
    const real nan = std::numeric_limits<real>::quiet_NaN();
    std::vector<real> odd{nan, std::numeric_limits<real>::infinity()};
    fake_quant(odd, odd, {one, {}, 2}, grid);
    CHECK(std::isnan(odd[0]));
    CHECK(odd[1] == grid.highest());
  }
  CHECK(grid_of({.bits = 8, .grid = GridKind::e4m3}).nearest(464) == 126);  // half way to 480
}

TEST_CASE("power-of-two scales: the standard's exponent for FP4") {
  for (const double absmax : {6.0, 4.0, 3.999, 7.999, 8.0, 1.0, 0.3, 1e-3, 5e4}) {
    // OCP MX 1.0, 6.3: the largest power of two in the block over the type's, which is 4.
    const double expected = std::exp2(std::floor(std::log2(absmax)) - 2);
    const std::vector<real> w{static_cast<real>(absmax), static_cast<real>(-absmax / 3)};
    const Spec spec{.bits = 4, .grid = GridKind::fp4, .scale = ScaleType::e8m0};
    INFO(absmax);
    CHECK(double(scale_unit(w, spec, 1).scale) == expected);
  }
  for (int k = -127; k <= 127; ++k) {
    const real s = std::ldexp(real{1}, k);
    CHECK(round_scale(s, ScaleType::e8m0) == s);
    const std::vector<std::uint8_t> byte = pack_scales(std::vector<real>{s}, ScaleType::e8m0);
    CHECK(byte == std::vector<std::uint8_t>{static_cast<std::uint8_t>(k + 127)});
    CHECK(unpack_scales(byte, ScaleType::e8m0) == std::vector<real>{s});
  }
  CHECK(round_scale(1e-45f, ScaleType::e8m0) == 0x1p-127f);
  CHECK(round_scale(3.4e38f, ScaleType::e8m0) == 0x1p127f);
  CHECK(round_scale(0, ScaleType::e8m0) == 0x1p-127f);
  CHECK(round_scale(1.3333f, ScaleType::e8m0) == 1);
  CHECK(round_scale(1.3334f, ScaleType::e8m0) == 2);
  // 255 is not a number.
  CHECK(std::isnan(unpack_scales(std::vector<std::uint8_t>{255}, ScaleType::e8m0)[0]));
}

TEST_CASE("MXFP4 takes 4.25 bits, and e8m0 holds no sign") {
  const Spec mxfp4{.bits = 4,
                   .grid = GridKind::fp4,
                   .granularity = Granularity::group,
                   .group_size = 32,
                   .scale = ScaleType::e8m0};
  CHECK(bits_per_weight(mxfp4, 64, 256) == 4.25);
  CHECK(name_of(mxfp4) == "4-bit fp4 group 32 e8m0");
  const std::vector<real> w = normal_matrix(6 * 64, 4);
  const QTensor q =
      quantize(w, 6, 64, mxfp4, choose_scales(w, 6, 64, mxfp4, RangeRule::absmax, "t").at, "t");
  CHECK(unpack(pack(q), "t") == q);
  CHECK(error_of([] {
          validate({.bits = 4, .grid = GridKind::signed_max, .scale = ScaleType::e8m0}, 8, "t");
        }).field == "scale");
}

TEST_CASE("float types are served as they are dequantized") {
  for (const FloatType& type : kTypes) {
    for (const ScaleType scale : {ScaleType::f16, ScaleType::e8m0}) {
      for (const std::int64_t group : {0, 32, 12}) {
        const Spec spec{.bits = type.bits,
                        .grid = type.kind,
                        .granularity = group == 0 ? Granularity::channel : Granularity::group,
                        .group_size = group,
                        .scale = scale};
        const std::int64_t rows = 5, cols = group == 12 ? 36 : 96;
        const std::vector<real> w = normal_matrix(rows * cols, 7);
        const QTensor q = quantize(w, rows, cols, spec,
                                   choose_scales(w, rows, cols, spec, RangeRule::mse, "t").at, "t");
        const ServedMatrix served(q);
        const std::vector<real> wanted = dequantize(q);
        std::vector<float> row(static_cast<std::size_t>(cols));
        const std::vector<real> x = normal_matrix(cols, 8);
        for (std::int64_t r = 0; r < rows; ++r) {
          served.dequantize_row(row, r);
          for (std::int64_t c = 0; c < cols; ++c)
            CHECK(row[static_cast<std::size_t>(c)] ==
                  wanted[static_cast<std::size_t>(r * cols + c)]);
        }
        Graph g;
        g.begin(Graph::Mode::inference);
        std::vector<real> in = x;
        const auto y =
            served_product(g.constant({in.data(), {1, cols}}), {}, served).value().flat();
        for (std::int64_t r = 0; r < rows; ++r) {
          double sum = 0;
          for (std::int64_t c = 0; c < cols; ++c)
            sum += double(wanted[static_cast<std::size_t>(r * cols + c)]) *
                   double(x[static_cast<std::size_t>(c)]);
          CHECK(double(y[static_cast<std::size_t>(r)]) == Approx(sum).epsilon(1e-4).margin(1e-4));
        }
      }
    }
  }
}

}  // namespace float_formats_test
