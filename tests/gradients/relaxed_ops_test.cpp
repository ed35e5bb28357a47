// Gradient rows of the ops that post-training methods put on the tape.
#include <algorithm>
#include <cmath>

#include "quant/ops/offset_round.h"
#include "quant/ops/rotation.h"
#include "quant/ops/soft_codes.h"
#include "quant/ops/sparse_linear.h"
#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"

namespace notch::relaxed_ops_test {

using test::Input;
using test::OpRow;
using Vars = std::span<const Var>;

TEST_CASE("gradients of a rotation") {
  static const std::vector<std::int8_t> signs{1, -1, -1, 1, 1, 1, -1, 1, -1, -1, 1, 1};
  for (const Shape& shape : {Shape{12}, Shape{3, 12}, Shape{2, 2, 12}}) {
    test::require_gradients({.op = "rotate", .inputs = {{shape}}, .recipe = [](Graph&, Vars in) {
                               return quant::rotate(in[0], signs);
                             }});
  }
}

TEST_CASE("gradients of a sparse product") {
  // [4, 6], of which the second row is empty.
  static const std::vector<std::int32_t> starts{0, 2, 2, 3, 6};
  static const std::vector<std::uint16_t> columns{1, 4, 0, 1, 2, 5};
  static const std::vector<real> values = test::draw({{6}}, 3);
  for (const Shape& shape : {Shape{6}, Shape{3, 6}, Shape{2, 2, 6}}) {
    test::require_gradients(
        {.op = "sparse_linear", .inputs = {{shape}}, .recipe = [](Graph&, Vars in) {
           return quant::sparse_linear(
               in[0], {.starts = starts, .columns = columns, .values = values, .cols = 6});
         }});
  }
}

TEST_CASE("gradients of weights between codes") {
  constexpr std::int64_t kRows = 4, kCols = 6;
  static const std::vector<real> levels = test::draw({{kRows * kCols, 3}}, 1);
  static const std::vector<real> scales = test::draw({{kRows * kCols}, test::Fill::positive}, 2);
  for (const std::int64_t unit : {kRows * kCols, kCols, std::int64_t{3}}) {
    for (const double temperature : {1.0, 0.3}) {
      const std::int64_t units = kRows * kCols / unit;
      test::require_gradients({.op = "soft_codes",
                               .what = str("units of ", unit, ", temperature ", temperature),
                               .inputs = {{{kRows * kCols, 3}}, {{units}}},
                               .recipe = [=](Graph&, Vars in) {
                                 return quant::soft_codes(in[0], in[1],
                                                          {.rows = kRows,
                                                           .cols = kCols,
                                                           .unit = unit,
                                                           .levels = levels,
                                                           .scales = std::span(scales).first(
                                                               static_cast<std::size_t>(units))},
                                                          temperature);
                               }});
    }
  }
}

TEST_CASE("gradients of rounding with an offset, residuals held fixed") {
  const struct { std::string op; } row{.op = "offset_round"};
  using namespace quant;
  for (const Spec& spec : {Spec{.bits = 3}, Spec{.bits = 2,
                                            .grid = GridKind::asymmetric,
                                            .granularity = Granularity::group,
                                            .group_size = 3}}) {
    constexpr std::int64_t kRows = 4, kCols = 6;
    const std::int64_t unit = unit_size(spec, kRows, kCols), units = kRows * kCols / unit;
    std::vector<real> w = test::draw({{kRows * kCols}}, 3),
                      offsets = test::draw({{kRows * kCols}}, 4);
    const std::vector<real> dout = test::draw({{kRows * kCols}}, 5);
    std::vector<real> scales(static_cast<std::size_t>(units), real(0.2));
    std::vector<real> factors(static_cast<std::size_t>(units), real(1.1));
    for (real& v : offsets) v /= 2;
    const std::vector<std::int8_t> zeros(
        static_cast<std::size_t>(has_zero_points(spec) ? units : 0), 1);
    const OffsetCodes codes{
        .spec = spec, .rows = kRows, .cols = kCols, .w = w, .scales = scales, .zero_points = zeros};
    const Grid grid = grid_of(spec);
    const double z = zeros.empty() ? 0 : 1;
    const auto clamped = [&](double v) {
      return std::clamp(v, double(grid.qmin) - z, double(grid.qmax) - z);
    };
    // f = Σ dout s (clamp(w/s + V) + r), r the rounding of this point.
    std::vector<double> r(w.size());
    const auto f = [&](std::span<const real> V, std::span<const real> a, bool freeze) {
      double sum = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        const std::size_t u = i / static_cast<std::size_t>(unit);
        const double s = scales[u] * a[u], v = clamped(w[i] / s + V[i]);
        if (freeze) r[i] = std::nearbyint(v) - v;
        sum += dout[i] * s * (v + r[i]);
      }
      return sum;
    };
    f(offsets, factors, true);
    Graph g;
    g.begin(Graph::Mode::training);
    const Var V = g.input({offsets.data(), {kRows, kCols}}), a = g.input({factors.data(), {units}});
    const Var y = offset_round(V, a, codes);
    REQUIRE(g.nodes()[static_cast<std::size_t>(y.id)].op->name == row.op);
    g.backward(y, dout);
    const auto check = [&](std::vector<real>& moved, std::span<const real> received) {
      REQUIRE(received.size() == moved.size());
      for (std::size_t i = 0; i < moved.size(); ++i) {
        const real was = moved[i];
        const double step = 1e-6;
        moved[i] = was + step;
        const double up = f(offsets, factors, false);
        moved[i] = was - step;
        const double down = f(offsets, factors, false);
        moved[i] = was;
        CHECK(received[i] == Approx((up - down) / (2 * step)).epsilon(1e-6).margin(1e-8));
      }
    };
    const std::vector<real> of_offsets(g.grad(V).begin(), g.grad(V).end());
    const std::vector<real> of_factors(g.grad(a).begin(), g.grad(a).end());
    check(offsets, of_offsets);
    check(factors, of_factors);
  }
}

}  // namespace notch::relaxed_ops_test
