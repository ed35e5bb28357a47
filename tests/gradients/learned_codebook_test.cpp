// Gradients of codebooks that are trained with their weights, against differences of a function in which
// every weight keeps the level that it has at the point:
//   f = Σ dout (level_c(w) + p(w) - p(w at the point)),  p the identity, or a clip to the range
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/ops/learned_codebook.h"
#include "tests/catch.h"
#include "tests/gradients/gradcheck.h"

namespace notch::quant::learned_codebook_test {

constexpr std::int64_t kRows = 3, kCols = 12;

struct Case {
  std::string op{};
  Spec spec{};
  Ste ste = Ste::clipped;
};

std::vector<Case> cases() {
  const auto learned = [](int bits, Granularity granularity) {
    return Spec{.bits = bits,
                .grid = GridKind::learned,
                .granularity = granularity,
                .group_size = granularity == Granularity::group ? 6 : 0};
  };
  std::vector<Case> all;
  for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
    for (const Ste ste : {Ste::clipped, Ste::plain}) {
      all.push_back({.op = "fake_quant_listed", .spec = learned(2, g), .ste = ste});
      all.push_back({.op = "fake_quant_shifted", .spec = learned(2, g), .ste = ste});
      all.push_back({.op = "fake_quant_shifted", .spec = learned(3, g), .ste = ste});
    }
  }
  return all;
}

double mean_square(std::span<const real> v) {
  double sum = 0;
  for (const real x : v) sum += x * x;
  return sum / double(v.size());
}

void check_case(const Case& c) {
  INFO(c.op << ' ' << name_of(c.spec) << (c.ste == Ste::plain ? " plain" : " clipped"));
  const auto unit = static_cast<std::size_t>(unit_size(c.spec, kRows, kCols));
  const std::size_t units = kRows * kCols / unit, list = std::size_t{1} << c.spec.bits;
  const auto w = test::draw({{kRows * kCols}}, 1), dout = test::draw({{kRows * kCols}}, 2);
  std::vector<real> first = test::draw({{std::int64_t(units * list)}}, 3);
  std::vector<real> shift = test::draw({{std::int64_t(units * list)}}, 4);
  const bool learns = c.op == "fake_quant_shifted";
  for (real& v : shift) v = learns ? v / 4 : 0;  // some lists get out of order
  std::vector<double> level(units * list), a(units);
  for (std::size_t u = 0; u < units; ++u) {
    const auto own = std::span(first).subspan(u * list, list);
    std::ranges::sort(own);
    a[u] = std::sqrt(mean_square(own));
    for (std::size_t j = 0; j < list; ++j)
      level[u * list + j] = double(float(own[j] + a[u] * shift[u * list + j]));
  }
  Graph g;
  g.begin(Graph::Mode::training);
  std::vector<real> weights = w;
  const Var in = g.input({weights.data(), {kRows, kCols}});
  const Var moves = g.input({shift.data(), {std::int64_t(units * list)}});
  const Var y = learns ? fake_quant_shifted(in, moves, c.spec, first, c.ste)
                       : fake_quant_listed(in, c.spec, first, c.ste);
  REQUIRE(g.nodes()[static_cast<std::size_t>(y.id)].op->name == c.op);
  const std::span<const real> seen = y.value().flat();
  g.backward(y, dout);
  std::vector<double> dshift(units * list);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::size_t u = i / unit;
    std::size_t nearest = 0;
    for (std::size_t j = 1; j < list; ++j)
      if (std::abs(w[i] - level[u * list + j]) < std::abs(w[i] - level[u * list + nearest])) nearest = j;
    CHECK(seen[i] == Approx(level[u * list + nearest]).epsilon(1e-6));
    dshift[u * list + nearest] += a[u] * dout[i];
    std::vector<double> own(level.begin() + std::ptrdiff_t(u * list),
                            level.begin() + std::ptrdiff_t((u + 1) * list));
    std::ranges::sort(own);
    const double reach = std::max(own[1] - own[0], own[list - 1] - own[list - 2]) / 2;
    const bool inside = w[i] >= own[0] - reach && w[i] <= own[list - 1] + reach;
    const double expected = inside || c.ste == Ste::plain ? dout[i] : 0;
    CHECK(g.grad(in)[i] == Approx(expected).margin(1e-12));
  }
  if (!learns) return;
  const std::span<const real> got = g.grad(moves);
  for (std::size_t j = 0; j < got.size(); ++j) CHECK(got[j] == Approx(dshift[j]).margin(1e-9));
}

TEST_CASE("gradients of weights and levels of learned codebooks") {
  for (const Case& c : cases()) check_case(c);
}

TEST_CASE("levels follow their weights by a step of Lloyd's algorithm") {
  const std::vector<real> now{-1, 0, 1, 9}, w{-2, -0.75, -0.25, 0.25, 0.75, 3};
  std::vector<real> to(4);
  refit_levels(to, now, w, ScaleType::f32);
  CHECK(to == std::vector<real>{-1.375, 0, 1.875, 9});
  // Halfway between two levels a weight is the lower one's, as its code is.
  const std::vector<real> halfway{-0.5, 0.5, 5};
  refit_levels(to, now, halfway, ScaleType::f32);
  CHECK(to == std::vector<real>{-0.5, 0.5, 5, 9});
}

TEST_CASE("levels that cross are put in order") {
  const std::vector<real> first{-1, 0, 1, 2}, shift{0, 0, 1, 0};
  std::vector<real> to(4);
  shift_levels(to, first, shift, ScaleType::f32);  // 1 + √1.5, past 2
  CHECK(to[2] == 2);
  CHECK(to[3] == Approx(1 + std::sqrt(1.5)));
}

}  // namespace notch::quant::learned_codebook_test
