// Served matrices on the tape: products of few and many rows, their gradient, lookups.
#include "quant/serve/served_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/layers.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace served_matrix_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

QTensor random_tensor(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const std::vector<real> w = normal_matrix(rows * cols, 1);
  return quantize(w, rows, cols, spec,
                  choose_scales(w, rows, cols, spec, RangeRule::absmax, "w").at, "w");
}

Tensor tensor_of(std::vector<real>& v, Shape shape) { return {v.data(), shape}; }

double largest_of(const std::vector<real>& x, std::int64_t row, std::int64_t K) {
  double most = 0;
  for (std::int64_t k = 0; k < K; ++k)
    most =
        std::fmax(most, std::fabs(static_cast<double>(x[static_cast<std::size_t>(row * K + k)])));
  return most;
}
double sum_of_magnitudes(const std::vector<real>& w, std::int64_t row, std::int64_t K) {
  double sum = 0;
  for (std::int64_t k = 0; k < K; ++k)
    sum += std::fabs(static_cast<double>(w[static_cast<std::size_t>(row * K + k)]));
  return sum;
}

std::vector<real> product(const ServedMatrix& w, std::vector<real> x, std::vector<real> bias,
                          std::int64_t M) {
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var y = served_product(g.constant(tensor_of(x, {M, w.cols()})),
                               g.constant(tensor_of(bias, {w.rows()})), w);
  const std::span<const real> values = y.value().flat();
  return {values.begin(), values.end()};
}

/// Element (row of x, row of w) by split_rows.h and integer_linear.h: x in fixed point, its digits by
/// division, their sums in 64 bits.
float by_definition(const QTensor& q, std::int64_t n, std::span<const real> x, float bias) {
  double largest = 0;
  for (const real v : x) largest = std::fmax(largest, std::fabs(static_cast<double>(v)));
  double step = 1;
  while (largest / step > 8355711) step *= 2;
  while (largest / (step / 2) <= 8355711) step /= 2;
  const std::int64_t K = q.cols, unit = unit_size(q.spec, q.rows, K);
  float y[3] = {};
  for (int d = 0; d < 3; ++d) {
    float sum = 0;
    for (std::int64_t first = 0; first < K; first += unit) {
      const auto u = static_cast<std::size_t>((n * K + first) / unit);
      const int zero = q.at.zero_points.empty() ? 0 : q.at.zero_points[u];
      std::int64_t acc = 0;
      for (std::int64_t k = first; k < std::min(K, first + unit); ++k) {
        auto rest = static_cast<std::int64_t>(
            std::nearbyint(static_cast<double>(x[static_cast<std::size_t>(k)]) / step));
        std::int64_t digit = 0;
        for (int i = 2; i >= d; --i) {  // the lowest first
          digit = (rest + 128) - std::int64_t(std::floor(double(rest + 128) / 256)) * 256 - 128;
          rest = (rest - digit) / 256;
        }
        acc += digit * (q.codes[static_cast<std::size_t>(n * K + k)] - zero);
      }
      const float term = static_cast<float>(acc) * static_cast<float>(q.at.scales[u]);
      sum = unit < K ? sum + term : term;
    }
    y[d] = sum * static_cast<float>(step * std::pow(256.0, 2 - d));
  }
  return ((y[0] + y[1]) + y[2]) + bias;
}

TEST_CASE("products of any number of rows agree with dequantized weights") {
  const std::int64_t N = 70, K = 96;
  for (const Spec& spec : {Spec{.bits = 8}, Spec{.bits = 6, .grid = GridKind::asymmetric},
                           Spec{.bits = 4, .grid = GridKind::nf4},
                           Spec{.bits = 4,
                           .granularity = Granularity::group,
                           .group_size = 32,
                           .scale = ScaleType::f16},
                           Spec{.bits = 3, .granularity = Granularity::tensor}}) {
    const QTensor q = random_tensor(spec, N, K);
    const ServedMatrix matrix(q);
    const std::vector<real> w = dequantize(q);
    std::vector<real> bias = normal_matrix(N, 2);
    for (const std::int64_t M : {1, 16, 17, 40}) {
      std::vector<real> x = normal_matrix(M * K, 3);
      Graph g;
      g.begin(Graph::Mode::inference);
      const Var y = served_product(g.constant(tensor_of(x, {M, K})),
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
          // K products and additions, the scale, the bias: each at most ε/2 of what it adds up. Inputs
          // in fixed point: 1/8355711 of the largest.
          const double bound =
              static_cast<double>(K + 4) * std::numeric_limits<float>::epsilon() * magnitude +
              largest_of(x, m, K) / 8355711 * sum_of_magnitudes(w, n, K);
          const double found = static_cast<double>(y.value().data[m * N + n]);
          worst = std::max(worst, std::fabs(found - sum) / bound);
        }
      INFO(name_of(spec) << ", " << M << " rows");
      CHECK(worst <= 1);
    }
  }
}

TEST_CASE("floats times integers have the documented bits at any row count") {
  const std::int64_t N = 48, K = 96, M = 37;
  const std::vector<real> x = normal_matrix(M * K, 6), bias = normal_matrix(N, 7);
  for (int bits = 2; bits <= 8; ++bits)
    for (const GridKind grid : {GridKind::narrow, GridKind::asymmetric, GridKind::seq})
      for (const std::int64_t group : {0, 32}) {
        if (grid == GridKind::seq && bits > 4) continue;
        Spec spec{.bits = bits, .grid = grid, .scale = ScaleType::f16};
        if (group > 0) spec.granularity = Granularity::group, spec.group_size = group;
        const QTensor q = random_tensor(spec, N, K);
        const ServedMatrix matrix(q);
        std::vector<real> expected;
        for (std::int64_t m = 0; m < M; ++m)
          for (std::int64_t n = 0; n < N; ++n)
            expected.push_back(
                by_definition(q, n, std::span(x).subspan(static_cast<std::size_t>(m * K), K),
                              static_cast<float>(bias[static_cast<std::size_t>(n)])));
        INFO(name_of(spec));
        CHECK(product(matrix, {x.begin(), x.begin() + K}, bias, 1) ==
              std::vector<real>(expected.begin(), expected.begin() + N));
        if (best_integer_kernel() >= IntegerKernel::avx_vnni)  // else gemm takes that many
          CHECK(product(matrix, x, bias, M) == expected);
      }
}

TEST_CASE("a served product has the gradient of dequantized weights") {
  const std::int64_t N = 48, K = 64, M = 3;
  std::vector<real> x = normal_matrix(M * K, 6), dy = normal_matrix(M * N, 8);
  for (const Spec& spec : {Spec{.bits = 8}, Spec{.bits = 3, .grid = GridKind::asymmetric},
                           Spec{.bits = 4, .grid = GridKind::nf4}}) {
    const QTensor q = random_tensor(spec, N, K);
    const ServedMatrix matrix(q);
    const std::vector<real> w = dequantize(q);
    Graph g;
    g.begin(Graph::Mode::training);
    const Var in = g.input(tensor_of(x, {M, K}));
    g.backward(served_product(in, {}, matrix), dy);
    INFO(name_of(spec));
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t k = 0; k < K; ++k) {
        double sum = 0, magnitude = 0;
        for (std::int64_t n = 0; n < N; ++n) {
          const double term = static_cast<double>(dy[static_cast<std::size_t>(m * N + n)]) *
                              static_cast<double>(w[static_cast<std::size_t>(n * K + k)]);
          sum += term;
          magnitude += std::fabs(term);
        }
        const double found = static_cast<double>(g.grad(in)[static_cast<std::size_t>(m * K + k)]);
        REQUIRE(std::fabs(found - sum) <=
                static_cast<double>(N) * std::numeric_limits<float>::epsilon() * magnitude);
      }
  }
  const ServedMatrix rounds(random_tensor({.bits = 8}, N, K), InputQuantizer{});
  Graph g;
  g.begin(Graph::Mode::training);
  const Var y = served_product(g.input(tensor_of(x, {M, K})), {}, rounds);
  CHECK(error_of([&] { g.backward(y, dy); }).where == "served_product");
}

TEST_CASE("a lookup gives dequantized rows and refuses unknown ids") {
  const QTensor q = random_tensor({.bits = 5}, 30, 50);
  const ServedMatrix matrix(q);
  const std::vector<real> w = dequantize(q);
  const std::vector<std::int32_t> ids{29, 0, 7, 7};
  Graph g;
  g.begin(Graph::Mode::inference);
  const Var rows = served_lookup(g, {.ids = ids, .B = 2, .T = 2}, matrix);
  REQUIRE(rows.shape() == Shape{2, 2, 50});
  for (std::size_t t = 0; t < 4; ++t)
    for (std::size_t c = 0; c < 50; ++c)
      CHECK(rows.value().data[t * 50 + c] == w[static_cast<std::size_t>(ids[t]) * 50 + c]);
  const std::vector<std::int32_t> bad{30};
  CHECK(error_of([&] { served_lookup(g, {.ids = bad, .B = 1, .T = 1}, matrix); }).fault ==
        Fault::usage);
}

TEST_CASE("rows may come in pieces, and what does not fit is refused") {
  for (const Spec& spec :
       {Spec{.bits = 3, .grid = GridKind::asymmetric}, Spec{.bits = 4, .grid = GridKind::nf4},
        Spec{.bits = 8, .grid = GridKind::asymmetric, .granularity = Granularity::tensor},
        Spec{.bits = 4, .granularity = Granularity::group, .group_size = 8}}) {
    const QTensor q = random_tensor(spec, 19, 40);
    const auto rows_of = [&](std::int64_t first, std::int64_t n) {
      QTensor part{.spec = spec, .rows = n, .cols = 40};
      const auto cut = [&](const auto& all, std::int64_t per_row) {
        return std::vector(all.begin() + first * per_row, all.begin() + (first + n) * per_row);
      };
      part.codes = cut(q.codes, 40);
      part.at = q.at;
      if (spec.granularity != Granularity::tensor) {
        const std::int64_t units = std::ssize(q.at.scales) / 19;
        part.at.scales = cut(q.at.scales, units);
        if (has_zero_points(spec)) part.at.zero_points = cut(q.at.zero_points, units);
      }
      return part;
    };
    ServedMatrix pieces(spec, 19, 40);
    pieces.set_rows(0, rows_of(0, 16));
    pieces.set_rows(16, rows_of(16, 3));
    const std::vector<real> w = dequantize(q);
    std::vector<float> row(40);
    for (std::int64_t r = 0; r < 19; ++r) {
      pieces.dequantize_row(row, r);
      for (std::int64_t k = 0; k < 40; ++k)
        REQUIRE(row[static_cast<std::size_t>(k)] ==
                static_cast<float>(w[static_cast<std::size_t>(r * 40 + k)]));
    }
    CHECK(error_of([&] { pieces.set_rows(16, rows_of(0, 4)); }).fault == Fault::usage);
  }
}

}  // namespace served_matrix_test
