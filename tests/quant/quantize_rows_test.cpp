// Activation codes: the formula of quantize_rows.h, its edge cases, and its layout.
#include "quant/kernels/quantize_rows.h"

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/thread_pool.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace quantize_rows_test {

using namespace notch;
using namespace notch::quant;
using Floats = std::vector<float>;

struct Rows {
  Rows(std::int64_t M, const IntegerShape& shape)
      : sums(static_cast<std::size_t>(M * shape.units())),
        codes(static_cast<std::size_t>(M * shape.row_codes()), 77),
        zero_points(static_cast<std::size_t>(M)),
        scales(static_cast<std::size_t>(M)),
        dequantized(static_cast<std::size_t>(M * shape.K)) {}
  std::vector<std::int32_t> sums;
  std::vector<std::uint8_t> codes, zero_points;
  Floats scales, dequantized;
};

Rows quantized(const Floats& x, const IntegerShape& shape, const RowGrid& grid) {
  const std::int64_t M = std::ssize(x) / shape.K;
  Rows rows(M, shape);
  quantize_rows({rows.codes, rows.scales, rows.zero_points, rows.sums}, rows.dequantized, x, M,
                shape, grid);
  return rows;
}

Floats normals(std::int64_t n, std::uint64_t seed) {
  const std::vector<real> w = test::normal_matrix(n, seed);
  return {w.begin(), w.end()};
}

TEST_CASE("activation codes are the division rounded half to even") {
  const IntegerShape shape{.N = 1, .K = 90, .group = 6, .zero_points = true};
  const std::int64_t M = 40;
  const Floats x = normals(M * shape.K, 1);
  for (const bool asymmetric : {false, true})
    for (const float given : {0.0f, 0.0125f}) {
      const RowGrid grid{.qmin = asymmetric ? -128 : -127,
                         .asymmetric = asymmetric,
                         .static_scale = given,
                         .static_zero_point = given != 0 && asymmetric ? 11 : 0};
      const Rows rows = quantized(x, shape, grid);
      for (std::int64_t t = 0; t < M; ++t) {
        float lo = 0, hi = 0;
        for (std::int64_t k = 0; k < shape.K; ++k) {
          lo = std::min(lo, x[static_cast<std::size_t>(t * shape.K + k)]);
          hi = std::max(hi, x[static_cast<std::size_t>(t * shape.K + k)]);
        }
        float scale = asymmetric ? (hi - lo) / 255.0f : std::max(hi, -lo) / 127.0f;
        int z = asymmetric ? static_cast<int>(std::nearbyint(-128.0f - lo / scale)) : 0;
        if (given != 0) scale = given, z = grid.static_zero_point;
        REQUIRE(rows.scales[static_cast<std::size_t>(t)] == scale);
        REQUIRE(rows.zero_points[static_cast<std::size_t>(t)] == z + 128);
        std::int32_t sum = 0;
        for (std::int64_t i = 0; i < shape.row_codes(); ++i) {
          if (i % shape.padded_unit() == 0) sum = 0;
          const std::int64_t u = i / shape.padded_unit(), in_unit = i % shape.padded_unit();
          const int code = rows.codes[static_cast<std::size_t>(t * shape.row_codes() + i)];
          if (in_unit >= shape.unit()) {
            CHECK(code == 0);
            CHECK(sum == rows.sums[static_cast<std::size_t>(t * shape.units() + u)]);
            continue;
          }
          const auto at = static_cast<std::size_t>(t * shape.K + u * shape.unit() + in_unit);
          const float q = std::nearbyint(x[at] / scale) + static_cast<float>(z);
          const int expected = static_cast<int>(std::fmin(std::fmax(q, float(grid.qmin)), 127.0f));
          REQUIRE(code == expected + 128);
          sum += code;
          REQUIRE(rows.dequantized[at] == static_cast<float>(expected - z) * scale);
        }
      }
    }
}

TEST_CASE("ties of activation codes go to even") {
  const IntegerShape shape{.N = 1, .K = 8};
  const Rows rows = quantized({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 200.0f, -200.0f}, shape,
                              {.static_scale = 1});
  const std::vector<std::uint8_t> expected{128, 130, 130, 128, 126, 126, 255, 1};
  CHECK(rows.codes == expected);
}

TEST_CASE("activation codes equal the division's for neighbours of ties") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Rng rng(3, 1);
  const IntegerShape shape{.N = 1, .K = 1536};
  for (const double magnitude : {1e-42, 1e-37, 1e-36, 1e-20, 0.01, 1.0, 1e20, 1e35, 1e37})
    for (int repeat = 0; repeat < 20; ++repeat) {
      const float scale = static_cast<float>(magnitude * (1 + rng.uniform()));
      Floats x;
      for (std::int64_t i = 0; i < shape.K; ++i) {
        const float half = static_cast<float>(static_cast<int>(rng.below(260)) - 130) + 0.5f;
        float v = half * scale;
        for (std::uint64_t step = rng.below(4); step > 0; --step)
          v = std::nextafter(v, i % 2 ? kInf : -kInf);
        x.push_back(std::isfinite(v) ? v : 0);
      }
      const Rows rows = quantized(x, shape, {.qmin = -128, .static_scale = scale});
      bool equal = true;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const float q = std::fmin(std::fmax(std::nearbyint(x[i] / scale), -128.0f), 127.0f);
        equal &= rows.codes[i] == static_cast<int>(q) + 128;
      }
      INFO(scale);
      CHECK(equal);
    }
}

TEST_CASE("rows of zeros, tiny, huge and broken rows are well defined") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const IntegerShape shape{.N = 1, .K = 4};
  const Floats x{0,      -0.0f,   0, 0,  // zeros
                 1e-45f, -1e-45f, 0, 0,  // absmax / 127 would round to zero
                 3e38f,  -3e38f,  1, 0,  // hi - lo overflows
                 1,      NAN,     0, 0,  // broken
                 2,      -kInf,   0, 0};
  const Rows symmetric = quantized(x, shape, {});
  const Rows asymmetric = quantized(x, shape, {.qmin = -128, .asymmetric = true});
  for (const Rows* rows : {&symmetric, &asymmetric}) {
    CHECK(rows->scales[0] == 1.0f);
    CHECK(rows->dequantized[0] == 0.0f);
    CHECK(rows->scales[1] == std::numeric_limits<float>::denorm_min());
    CHECK(rows->dequantized[4] == x[4]);
    CHECK(std::isfinite(rows->scales[2]));
    CHECK(std::isnan(rows->scales[3]));
    CHECK(std::isnan(rows->scales[4]));
    for (std::size_t i = 12; i < 20; ++i) {
      CHECK(rows->codes[i] == 128);
      CHECK(std::isnan(rows->dequantized[i]));
    }
  }
  CHECK(symmetric.codes[0] == 128);
  CHECK(symmetric.codes[8] == 255);
  CHECK(symmetric.codes[9] == 1);
}

TEST_CASE("activation codes do not depend on the number of threads") {
  const IntegerShape shape{.N = 1, .K = 200};
  const Floats x = normals(500 * shape.K, 2);
  set_threads(1);
  const Rows one = quantized(x, shape, {});
  set_threads(3);
  const Rows three = quantized(x, shape, {});
  set_threads(0);
  CHECK(one.codes == three.codes);
  CHECK(one.scales == three.scales);
}

}  // namespace quantize_rows_test
