// dx on integers: the transposed weights' codes, the gradients' rounding and its expectation, and what
// a layer makes of both.
#include "quant/kernels/integer_gradients.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/thread_pool.h"
#include "autograd/ops.h"
#include "quant/ops/input_ops.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace integer_gradients_test {

using namespace notch;
using namespace notch::quant;
using Floats = std::vector<float>;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Packed weights with their memory.
struct Packed {
  explicit Packed(const IntegerShape& shape)
      : block(size((packed_bytes(shape) + 3) / 4)),
        weights(lay_out(shape, std::as_writable_bytes(block.flat()))) {}
  FlatBlock block;
  PackedWeights weights;
};

struct Codes {
  Codes(const Floats& dy, std::int64_t M, const IntegerShape& s, std::uint64_t key)
      : codes(size(M * s.row_codes()), 77), zeros(size(M)), scales(size(M)) {
    round_gradients({codes, scales, zeros, {}}, dy, M, s, key);
  }
  std::vector<std::uint8_t> codes, zeros;
  Floats scales;
};

Floats floats(std::int64_t n, std::uint64_t seed) {
  const std::vector<real> v = test::normal_matrix(n, seed);
  return {v.begin(), v.end()};
}

/// dx of y = x̂ ŵᵀ for a layer of 8-bit inputs, and dw.
struct Gradients {
  std::vector<real> dx, dw;
};
Gradients layer_gradients(const std::vector<real>& x, const std::vector<real>& w,
                          const std::vector<real>& dy, std::int64_t M, std::int64_t N,
                          std::int64_t K, bool integer_backward, std::uint64_t step, bool twice) {
  std::vector<real> xs = x, ws = w;
  const IntegerShape shape{.N = N, .K = K};
  const Packed packed(shape);
  std::vector<float> scales(size(N));
  for (std::int64_t n = 0; n < N; ++n) {
    float most = 0;
    for (std::int64_t k = 0; k < K; ++k)
      most = std::fmax(most, std::fabs(float(w[size(n * K + k)])));
    scales[size(n)] = most / 127;
  }
  std::vector<float> rounded(ws.size());
  for (std::int64_t panel = 0; panel < shape.panels(); ++panel)
    quantize_panel(packed.weights, panel, rounded, ws, scales, {}, {.qmin = -127, .qmax = 127});
  std::vector<real> wq(rounded.begin(), rounded.end());
  Graph g;
  g.begin(Graph::Mode::training, step);
  const Var in = g.input({xs.data(), {M, K}}), weights = g.input({wq.data(), {N, K}});
  const StepInput how{.integer_backward = integer_backward};
  Var y = quantized_linear(in, weights, {}, how, &packed.weights);
  if (twice) y = add(y, quantized_linear(in, weights, {}, how, &packed.weights));
  g.backward(y, dy);
  const auto copy = [&](Var v) {
    const std::span<const real> grad = g.grad(v);
    return std::vector<real>(grad.begin(), grad.end());
  };
  return {copy(in), copy(weights)};
}

TEST_CASE("transposed weights have a scale per feature and nearest codes") {
  for (const auto& [N, K] : {std::pair<std::int64_t, std::int64_t>{5, 3}, {70, 37}, {64, 48}}) {
    const Floats w = floats(N * K, 3);
    const Packed packed(transposed_shape(N, K));
    Floats scratch(size(transpose_scratch(N, K)));
    transpose_weights(packed.weights, w, scratch);
    const std::int64_t row = packed.weights.shape.row_codes();
    for (std::int64_t k = 0; k < K; ++k) {
      float most = 0;
      for (std::int64_t n = 0; n < N; ++n) most = std::fmax(most, std::fabs(w[size(n * K + k)]));
      REQUIRE(packed.weights.scales[k] == most / 127);
      int sum = 0;
      for (std::int64_t n = 0; n < N; ++n) {
        // The panel layout of integer_linear.h.
        const int q = packed.weights.panels[k / 16 * 16 * row + n / 4 * 64 + k % 16 * 4 + n % 4];
        REQUIRE(q == static_cast<int>(std::nearbyint(w[size(n * K + k)] / (most / 127))));
        sum += q;
      }
      CHECK(packed.weights.sums[k] == sum);
    }
  }
}

TEST_CASE("gradients are rounded up as often as they lie above a code") {
  const std::int64_t M = 2, N = 50;
  const IntegerShape shape = transposed_shape(N, 16);
  Floats dy = floats(M * N, 9);
  std::ranges::fill_n(dy.begin() + N, N, 0.0f);  // a row of zeros
  Floats mean(size(N));
  constexpr int kDraws = 4000;
  float scale = 0;
  for (std::uint64_t key = 0; key < kDraws; ++key) {
    const Codes c(dy, M, shape, key);
    scale = c.scales[0];
    for (std::int64_t n = 0; n < N; ++n) {
      const int q = c.codes[size(n)] - 128;
      const float v = dy[size(n)] / scale;
      REQUIRE((q == static_cast<int>(std::floor(v)) || q == static_cast<int>(std::floor(v)) + 1 ||
               std::fabs(static_cast<float>(q) - v) < 1e-4f));
      mean[size(n)] += static_cast<float>(q) / kDraws;
    }
    REQUIRE(c.scales[1] == 1);
    for (std::int64_t n = 0; n < N; ++n) REQUIRE(c.codes[size(shape.row_codes() + n)] == 128);
    for (std::int64_t n = N; n < shape.row_codes(); ++n) REQUIRE(c.codes[size(n)] == 0);
  }
  float most = 0;
  for (std::int64_t n = 0; n < N; ++n) most = std::fmax(most, std::fabs(dy[size(n)]));
  CHECK(scale == most / 127);
  // A mean of 4000 Bernoulli draws: its deviation is at most 0.5/√4000 = 0.0079; 5 of them.
  for (std::int64_t n = 0; n < N; ++n)
    CHECK(std::fabs(mean[size(n)] - dy[size(n)] / scale) < 0.04f);
}

TEST_CASE("the bits of rounded gradients depend on the key, not on threads") {
  const std::int64_t M = 300, N = 130;
  const IntegerShape shape = transposed_shape(N, 16);
  const Floats dy = floats(M * N, 9);
  const Codes first(dy, M, shape, 5), other(dy, M, shape, 6);
  CHECK(first.codes != other.codes);
  for (int n = 1; n <= 5; ++n) {
    set_threads(n);
    CHECK(Codes(dy, M, shape, 5).codes == first.codes);
  }
  set_threads(0);
}

TEST_CASE("a gradient that is not finite stays seen") {
  const IntegerShape shape = transposed_shape(8, 16);
  Floats dy(16, 1.0f);
  dy[9] = std::numeric_limits<float>::infinity();
  const Codes c(dy, 2, shape, 1);
  CHECK(c.scales[0] == 1.0f / 127);
  CHECK(std::isnan(c.scales[1]));
}

TEST_CASE("a layer's integer dx is near that of floats, dw is the same") {
  const std::int64_t M = 24, N = 64, K = 48;
  const std::vector<real> x = test::normal_matrix(M * K, 1), w = test::normal_matrix(N * K, 2),
                          dy = test::normal_matrix(M * N, 3);
  const Gradients exact = layer_gradients(x, w, dy, M, N, K, false, 1, false);
  const Gradients integer = layer_gradients(x, w, dy, M, N, K, true, 1, false);
  CHECK(integer.dw == exact.dw);
  CHECK(integer.dx == layer_gradients(x, w, dy, M, N, K, true, 1, false).dx);
  CHECK(integer.dx != layer_gradients(x, w, dy, M, N, K, true, 2, false).dx);
  // Per term: dy off by less than a step, ŵ by half a step; the sums of N such, independent, with
  // a deviation of at most √N (|ŵ| step(dy)/2 + |dy| step(ŵ)/√12); 6 of them.
  double most_w = 0, most_dy = 0;
  for (const real v : w) most_w = std::fmax(most_w, std::fabs(double(v)));
  for (const real v : dy) most_dy = std::fmax(most_dy, std::fabs(double(v)));
  const double bound = 6 * std::sqrt(double(N)) * most_w * most_dy / 127;
  double worst = 0, squares = 0, all = 0;
  for (std::size_t i = 0; i < exact.dx.size(); ++i) {
    const double off = double(integer.dx[i]) - double(exact.dx[i]);
    worst = std::fmax(worst, std::fabs(off));
    squares += off * off;
    all += double(exact.dx[i]) * double(exact.dx[i]);
  }
  CHECK(worst < bound);
  CHECK(squares < 1e-3 * all);
  CHECK(squares > 0);
  // A second contribution is added to the first; its rounding is another.
  const Gradients both = layer_gradients(x, w, dy, M, N, K, true, 1, true);
  double mean_off = 0;
  for (std::size_t i = 0; i < exact.dx.size(); ++i)
    mean_off = std::fmax(mean_off, std::fabs(double(both.dx[i]) - 2 * double(exact.dx[i])));
  CHECK(mean_off < 2 * bound);
  CHECK(both.dx != integer.dx);
}

}  // namespace integer_gradients_test
