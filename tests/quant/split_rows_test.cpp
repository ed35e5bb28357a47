// Floats as three digits: what they keep of x, and where they lie.
#include "quant/kernels/split_rows.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace split_rows_test {

using namespace notch;
using namespace notch::quant;
using Floats = std::vector<float>;

/// Digits with their memory.
struct Digits {
  Digits(const Floats& x, std::int64_t M, const IntegerShape& shape)
      : codes(static_cast<std::size_t>(3 * M * shape.row_codes()), 0x5a),
        zeros(static_cast<std::size_t>(3 * M)),
        scales(static_cast<std::size_t>(3 * M)),
        sums(static_cast<std::size_t>(3 * M * shape.units())) {
    split_rows({codes, scales, zeros, sums}, x, M, shape);
  }
  /// Token t's code k without what is added to it.
  int digit(const IntegerShape& s, std::int64_t t, std::int64_t k) const {
    const auto at =
        static_cast<std::size_t>(t * s.row_codes() + k / s.unit() * s.padded_unit() + k % s.unit());
    return s.code_offset() == 0 ? static_cast<std::int8_t>(codes[at]) : codes[at] - 128;
  }
  std::vector<std::uint8_t> codes, zeros;
  Floats scales;
  std::vector<std::int32_t> sums;
};

constexpr IntegerShape kShapes[] = {{.N = 1, .K = 60},
                                    {.N = 1, .K = 60, .group = 20, .zero_points = true},
                                    {.N = 1, .K = 60, .bits = 4},
                                    {.N = 1, .K = 60, .group = 12, .bits = 3}};

TEST_CASE("three digits hold a float to half of the step that fits") {
  const std::int64_t M = 8;
  Floats x;
  for (const real v : test::normal_matrix(M * 60, 4)) x.push_back(static_cast<float>(v));
  const float largest[] = {8355711.0f, 8355711.5f, 8355712.0f, 3.4e38f, 1e-37f, 1e-44f, 1.0f, 0.0f};
  for (std::size_t t = 0; t < 8; ++t) {
    for (std::size_t k = 0; k < 60; ++k) {
      float& v = x[t * 60 + k];
      v = largest[t] == 0 ? 0 : std::fmax(-1.0f, std::fmin(1.0f, v / 3)) * largest[t];
    }
    x[t * 60 + 7] = t % 2 ? -largest[t] : largest[t];
  }
  // By hand: 8355711 is 127 in every digit, so the step is 1; a half more wants 2.
  const double steps[] = {
      1, 2, 2, std::ldexp(1, 106), std::ldexp(1, -126), std::ldexp(1, -126), std::ldexp(1, -22), 1};
  for (const IntegerShape& shape : kShapes) {
    const Digits d(x, M, shape);
    for (std::int64_t t = 0; t < M; ++t) {
      const double step = steps[t];
      INFO("row " << t << ", " << shape.bits << " bits");
      for (int i = 0; i < 3; ++i)
        REQUIRE(double(d.scales[static_cast<std::size_t>(3 * t + i)]) ==
                step * std::pow(256.0, 2 - i));
      double worst = 0;
      for (std::int64_t k = 0; k < 60; ++k) {
        const double held =
            step * (65536.0 * d.digit(shape, 3 * t, k) + 256.0 * d.digit(shape, 3 * t + 1, k) +
                    d.digit(shape, 3 * t + 2, k));
        worst = std::fmax(worst, std::fabs(held - double(x[static_cast<std::size_t>(60 * t + k)])));
      }
      CHECK(worst <= step / 2);
    }
  }
}

TEST_CASE("digits have the sums and the padding that kernels want") {
  Floats x;
  for (const real v : test::normal_matrix(2 * 60, 5)) x.push_back(static_cast<float>(v));
  for (const IntegerShape& s : kShapes) {
    const Digits d(x, 2, s);
    for (std::int64_t t = 0; t < 6; ++t) {
      CHECK(d.zeros[static_cast<std::size_t>(t)] == s.code_offset());
      for (std::int64_t u = 0; u < s.units(); ++u) {
        for (std::int64_t k = s.unit(); k < s.padded_unit(); ++k)
          CHECK(d.codes[static_cast<std::size_t>(t * s.row_codes() + u * s.padded_unit() + k)] ==
                0);
        if (!s.needs_sums()) continue;
        int sum = 0;
        for (std::int64_t k = u * s.unit(); k < (u + 1) * s.unit(); ++k)
          sum += d.digit(s, t, k) + s.code_offset();
        CHECK(d.sums[static_cast<std::size_t>(t * s.units() + u)] == sum);
      }
    }
  }
}

TEST_CASE("a row that is not finite makes every digit's product NaN") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    Floats x(3 * 60, 1.0f);
    x[60 + 3] = bad;
    for (const IntegerShape& shape : kShapes) {
      const Digits d(x, 3, shape);
      for (std::size_t t = 0; t < 9; ++t) CHECK(std::isnan(d.scales[t]) == (t / 3 == 1));
      for (std::int64_t k = 0; k < 60; ++k) CHECK(d.digit(shape, 4, k) == 0);
    }
  }
}

TEST_CASE("products of digits are joined from the highest on") {
  // 1 + 2^-24 is lost unless the small ones meet first: they do not.
  const Floats products{1, 5, 0x1p-24f, 2, 0x1p-24f, 4}, bias{0, 8};
  Floats y(2);
  join_rows(y, products, {}, 1, 2);
  CHECK(y == Floats{1, 11});
  join_rows(y, products, bias, 1, 2);
  CHECK(y == Floats{1, 19});
  CHECK(test::error_of([&] { join_rows(y, products, bias, 2, 2); }).where == "join_rows");
}

}  // namespace split_rows_test
