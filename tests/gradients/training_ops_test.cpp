// Gradient rows of what methods of quant/train add to the tape.
#include <algorithm>
#include <cmath>

#include "autograd/base/rng.h"
#include "quant/numbers/format.h"
#include "quant/numbers/gaussian_fit.h"
#include "quant/numbers/ranges.h"
#include "quant/ops/fake_quant.h"
#include "quant/ops/half_rounded.h"
#include "quant/ops/scaled_codes.h"
#include "tests/catch.h"
#include "tests/gradients/frozen_rounding.h"
#include "tests/gradients/gradcheck.h"
#include "tests/quant/random_matrix.h"

namespace notch::quant::training_ops_test {

using test::FrozenRounding;
using test::require_gradients;
using Vars = std::span<const Var>;

TEST_CASE("gradients of factors that are stored as halves") {
  for (const double factor : {1.0, 0.37}) {
    require_gradients({.op = "half_rounded",
                       .what = factor == 1 ? "factor 1" : "another factor",
                       .inputs = {{{3, 5}}},
                       .recipe = [=](Graph&, Vars in) { return half_rounded(in[0], factor); }});
  }
}

TEST_CASE("gradients of scales under codes that stay") {
  const std::int64_t N = 6, K = 8;
  const std::vector<real> w = test::normal_matrix(N * K, 1);
  for (const Spec& spec :
       {Spec{.bits = 4,
       .grid = GridKind::asymmetric,
       .granularity = Granularity::group,
       .group_size = 4},
        Spec{.bits = 2, .grid = GridKind::seq}, Spec{.bits = 4, .grid = GridKind::signed_max},
        Spec{.bits = 8, .granularity = Granularity::tensor},
        Spec{.bits = 4, .grid = GridKind::nf4}}) {
    const QTensor q =
        quantize(w, N, K, spec, choose_scales(w, N, K, spec, RangeRule::absmax, "t").at, "t");
    require_gradients({.op = "scaled_codes",
                       .what = name_of(spec),
                       .inputs = {{{std::ssize(q.at.scales)}}},
                       .recipe = [&](Graph&, Vars in) {
                         return scaled_codes(in[0], {.spec = spec,
                                                     .rows = N,
                                                     .cols = K,
                                                     .codes = q.codes,
                                                     .scales = q.at.scales,
                                                     .zero_points = q.at.zero_points});
                       }});
  }
}

struct Row {
  std::string op{};
  Spec spec{};
};

// With frozen residuals and frozen scales, the derivative is the identity where the weight is no
// farther from its level than the widest gap's half, and nothing beyond.
TEST_CASE("the trust estimator is the gradient of frozen rounding") {
  const std::int64_t rows = 4, cols = 12;
  std::vector<Row> table;
  for (const Format& format : formats()) {
    for (const int bits : {1, 2, 3, 4}) {
      for (const std::int64_t group : {0, 6}) {
        const Spec spec{.bits = bits,
                        .grid = format.kind,
                        .granularity = group ? Granularity::group : Granularity::channel,
                        .group_size = group};
        if (format.has_bits(bits) && !format.has_own_levels() && !has_zero_points(spec))
          table.push_back({.op = "fake_quant_gaussian", .spec = spec});
      }
    }
  }
  REQUIRE(table.size() > 20);
  int clipped = 0;
  for (const auto& [op, spec] : table) {
    INFO(name_of(spec));
    const Grid grid = grid_of(spec);
    // Half the scale that fits, so that much is clipped.
    const double of_normal = gaussian_scale(grid) / 2;
    const FrozenRounding frozen{.qmin = grid.qmin,
                                .qmax = grid.qmax,
                                .unit = static_cast<std::size_t>(unit_size(spec, rows, cols)),
                                .step = grid.step,
                                .reach = trusted_error(grid),
                                .levels = {grid.levels.begin(), grid.levels.end()}};
    std::vector<real> w = test::normal_matrix(rows * cols, 3);
    const std::vector<real> dout = test::normal_matrix(rows * cols, 4);
    std::vector<double> s;
    for (int i = 0;; ++i) {  // moving a weight off an edge moves its unit's scale
      REQUIRE(i < 100);
      s.clear();
      for (std::size_t u = 0; u < w.size(); u += frozen.unit)
        s.push_back(
            fitted_scale(std::span<const real>(w).subspan(u, frozen.unit), spec, of_normal));
      if (frozen.nudge(w, s, 1e-3) == 0) break;
    }
    Graph g;
    g.begin(Graph::Mode::training);
    const Var x = g.input({w.data(), {rows, cols}});
    const Var y = fake_quant_gaussian(x, spec, of_normal);
    REQUIRE(g.nodes()[y.id].op->name == op);
    g.keep(y);
    g.backward(y, dout);
    const std::vector<double> value = frozen.value(w, s, frozen.residuals(w, s)),
                              dw = frozen.differentiate(w, s, dout).dw;
    for (std::size_t i = 0; i < w.size(); ++i) {
      CHECK(y.value().data[i] == Approx(value[i]).epsilon(1e-6).margin(1e-8));
      CHECK(g.grad(x)[i] == Approx(dw[i]).epsilon(1e-6).margin(1e-8));
      // The paper's words for the same.
      const double error = std::abs(double(y.value().data[i]) - w[i]);
      CHECK((g.grad(x)[i] != 0) == (error <= s[i / frozen.unit] * trusted_error(grid)));
      clipped += g.grad(x)[i] == 0;
    }
  }
  CHECK(clipped > 100);
}

}  // namespace notch::quant::training_ops_test
