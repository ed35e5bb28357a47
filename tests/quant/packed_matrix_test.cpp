// Packed matrices on the tape: products of few and many rows, lookups, a decoding step.
#include "quant/serve/packed_matrix.h"

#include <cmath>
#include <limits>

#include "nn/layers.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

QTensor random_tensor(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const std::vector<real> w = normal_matrix(rows * cols, 1);
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "w").at, "w");
}

Tensor tensor_of(std::vector<real>& v, Shape shape) { return {v.data(), shape}; }

}  // namespace

TEST_CASE("products of any number of rows agree with dequantized weights") {
  const std::int64_t N = 70, K = 96;
  for (const Spec& spec : {Spec{.bits = 8}, Spec{.bits = 6, .grid = GridKind::asymmetric},
                           Spec{.bits = 4,
                           .granularity = Granularity::group,
                           .group_size = 32,
                           .scale = ScaleType::f16},
                           Spec{.bits = 3, .granularity = Granularity::tensor}}) {
    const QTensor q = random_tensor(spec, N, K);
    const PackedMatrix matrix(q);
    const std::vector<real> w = dequantize(q);
    std::vector<real> bias = normal_matrix(N, 2);
    for (const std::int64_t M : {std::int64_t{1}, kPackedRows, kPackedRows + 1, std::int64_t{40}}) {
      std::vector<real> x = normal_matrix(M * K, 3);
      Graph g;
      g.begin(Graph::Mode::inference);
      const Var y = packed_product(g.constant(tensor_of(x, {M, K})),
                                   g.constant(tensor_of(bias, {N})), matrix);
      REQUIRE(y.shape() == Shape{M, N});
      double worst = 0;
      for (std::int64_t m = 0; m < M; ++m)
        for (std::int64_t n = 0; n < N; ++n) {
          double sum = static_cast<double>(bias[static_cast<std::size_t>(n)]);
          double magnitude = std::fabs(sum);
          for (std::int64_t k = 0; k < K; ++k) {
            const double term = static_cast<double>(x[static_cast<std::size_t>(m * K + k)]) *
                                static_cast<double>(w[static_cast<std::size_t>(n * K + k)]);
            sum += term;
            magnitude += std::fabs(term);
          }
          // K products and additions, the scale, the bias: each at most ε/2 of what it adds up.
          const double bound =
              static_cast<double>(K + 4) * std::numeric_limits<float>::epsilon() * magnitude;
          const double found = static_cast<double>(y.value().data[m * N + n]);
          worst = std::max(worst, std::fabs(found - sum) / bound);
        }
      INFO(name_of(spec) << ", " << M << " rows");
      CHECK(worst <= 1);
    }
  }
}

TEST_CASE("a lookup gives dequantized rows and refuses unknown ids") {
  const QTensor q = random_tensor({.bits = 5}, 30, 50);
  const PackedMatrix matrix(q);
  const std::vector<real> w = dequantize(q);
  const std::vector<std::int32_t> ids{29, 0, 7, 7};
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var rows = packed_lookup(g, {.ids = ids, .B = 2, .T = 2}, matrix);
  REQUIRE(rows.shape() == Shape{2, 2, 50});
  for (std::size_t t = 0; t < 4; ++t)
    for (std::size_t c = 0; c < 50; ++c)
      CHECK(rows.value().data[t * 50 + c] == w[static_cast<std::size_t>(ids[t]) * 50 + c]);
  const std::vector<std::int32_t> bad{30};
  CHECK(error_of([&] { packed_lookup(g, {.ids = bad, .B = 1, .T = 1}, matrix); }).fault ==
        Fault::usage);
}

TEST_CASE("rows may come in pieces, and what does not fit is refused") {
  for (const Spec& spec :
       {Spec{.bits = 3, .grid = GridKind::asymmetric},
        Spec{.bits = 8, .grid = GridKind::asymmetric, .granularity = Granularity::tensor},
        Spec{.bits = 4, .granularity = Granularity::group, .group_size = 8}}) {
    const QTensor q = random_tensor(spec, 9, 40);
    const auto rows_of = [&](std::int64_t first, std::int64_t n) {
      QTensor part{.spec = spec, .rows = n, .cols = 40};
      const auto cut = [&](const auto& all, std::int64_t per_row) {
        return std::vector(all.begin() + first * per_row, all.begin() + (first + n) * per_row);
      };
      part.codes = cut(q.codes, 40);
      part.at = q.at;
      if (spec.granularity != Granularity::tensor) {
        const std::int64_t units = std::ssize(q.at.scales) / 9;
        part.at.scales = cut(q.at.scales, units);
        if (has_zero_points(spec)) part.at.zero_points = cut(q.at.zero_points, units);
      }
      return part;
    };
    PackedMatrix pieces(spec, 9, 40);
    pieces.set_rows(0, rows_of(0, 2));
    pieces.set_rows(2, rows_of(2, 7));
    const std::vector<real> w = dequantize(q);
    std::vector<float> row(40);
    for (std::int64_t r = 0; r < 9; ++r) {
      dequantize_row(row, pieces.rows(), r);
      for (std::int64_t k = 0; k < 40; ++k)
        REQUIRE(row[static_cast<std::size_t>(k)] ==
                static_cast<float>(w[static_cast<std::size_t>(r * 40 + k)]));
    }
    CHECK(error_of([&] { pieces.set_rows(8, rows_of(0, 2)); }).fault == Fault::usage);
  }
}
