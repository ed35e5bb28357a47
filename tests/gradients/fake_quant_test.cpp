// Backward of the fake-quantization ops: exact derivatives of the frozen-rounding function.
//
// LSQ's gradient is compared after undoing what it adds on purpose: the parameter is log s (times
// s) and the paper's gradient scale is 1/√(N qmax).

#include "quant/ops/fake_quant.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "autograd/base/rng.h"
#include "autograd/ops.h"
#include "quant/kernels/fake_quant.h"
#include "quant/numbers/format.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/gradients/check_close.h"
#include "tests/gradients/frozen_rounding.h"

namespace notch::quant::fake_quant_test {

using test::FrozenRounding;
using test::StraightThrough;
using Values = std::vector<double>;

constexpr std::int64_t kRows = 4, kCols = 12;
constexpr double kFirst = 0.25;  // of LSQ's steps: they are learned as multiples of it

/// One straight-through op in one setting.
struct Row {
  std::string op{};
  Spec spec{};
  Ste ste = Ste::clipped;
};

std::vector<Row> rows() {
  std::vector<Row> all;
  for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
    for (const Format& format : formats()) {
      for (const int bits : {1, 2, 4, 8}) {
        if (!format.has_bits(bits) || format.has_own_levels()) continue;
        for (const Ste ste : {Ste::clipped, Ste::plain}) {
          const Spec spec{.bits = bits,
                          .grid = format.kind,
                          .granularity = g,
                          .group_size = g == Granularity::group ? 6 : 0,
                          .scale = ScaleType::f16};
          all.push_back({.op = "fake_quant_ste", .spec = spec, .ste = ste});
          all.push_back({.op = "fake_quant_lsq", .spec = spec, .ste = ste});
        }
      }
    }
  }
  return all;
}

std::string describe(const Row& row) {
  return str(row.op, " ", name_of(row.spec), row.ste == Ste::plain ? " plain" : " clipped");
}

std::size_t units(const Spec& spec) {
  return static_cast<std::size_t>(unit_count(spec, kRows, kCols));
}
std::size_t unit(const Spec& spec) {
  return static_cast<std::size_t>(unit_size(spec, kRows, kCols));
}

FrozenRounding frozen(const Spec& spec, StraightThrough form, Values zeros = {}) {
  const Grid grid = grid_of(spec);
  return {.qmin = grid.qmin,
          .qmax = grid.qmax,
          .form = form,
          .unit = unit(spec),
          .zeros = std::move(zeros),
          .step = grid.step,
          .reach = grid.reach,
          .levels = {grid.levels.begin(), grid.levels.end()}};
}

/// A point off the ties and edges, with the scales that the op sees there.
struct Point {
  Values w{}, scales{}, zeros{}, dout{};
  std::vector<real> ratios{};
  /// What the op is given: STE's anchors, LSQ's first scales (their logarithm then is 0).
  std::vector<RangeAnchor> anchors(const Spec& spec) const {
    Scales at{.scales = scales};
    for (const double z : zeros) at.zero_points.push_back(static_cast<std::int8_t>(z));
    return anchor_ranges(w, at, spec);
  }
};

Values normals(std::size_t n, std::uint64_t seed) {
  Rng rng(seed);
  Values v(n);
  for (double& x : v) x = rng.normal();
  return v;
}

/// Scales of scale_unit at w.
void find_scales(Point& p, const Spec& spec) {
  p.scales.clear();
  p.zeros.clear();
  for (std::size_t u = 0; u < units(spec); ++u) {
    const UnitScale at = scale_unit(std::span<const real>(p.w).subspan(u * unit(spec), unit(spec)),
                                    spec, p.ratios[u]);
    p.scales.push_back(at.scale);
    if (has_zero_points(spec)) p.zeros.push_back(at.zero_point);
  }
}

/// For STE: ranges of about a third of the extremes, so that many weights are clipped. Moving a
/// weight off an edge can move its unit's scale: repeated until nothing moves.
Point ste_point(const Spec& spec) {
  Point p{.w = normals(kRows * kCols, 1), .dout = normals(kRows * kCols, 2)};
  for (std::size_t u = 0; u < units(spec); ++u) p.ratios.push_back(0.31 + 0.013 * double(u));
  for (int i = 0; i < 50; ++i) {
    find_scales(p, spec);
    if (frozen(spec, StraightThrough::clipped, p.zeros).nudge(p.w, p.scales, 1e-3) == 0) return p;
  }
  FAIL("no point off the edges");
  return p;
}

Point lsq_point(const Spec& spec) {
  Point p{.w = normals(kRows * kCols, 3), .dout = normals(kRows * kCols, 4)};
  const double last = grid_of(spec).highest() + grid_of(spec).reach;
  for (std::size_t u = 0; u < units(spec); ++u) {
    const double sign = format_of(spec.grid).has_signed_scale() && u % 2 == 1 ? -1 : 1;
    p.scales.push_back(lsq_step(sign, std::log((0.6 + 0.05 * double(u)) / last), spec.scale));
    if (has_zero_points(spec)) p.zeros.push_back(double(u % 3) - 1);
  }
  frozen(spec, StraightThrough::clipped, p.zeros).nudge(p.w, p.scales, 1e-3);
  return p;
}

/// Share of the weights outside the range, where only one of the two estimators has a gradient.
double clipped_share(const Point& p, const Spec& spec) {
  const Grid grid = grid_of(spec);
  double outside = 0;
  for (std::size_t i = 0; i < p.w.size(); ++i) {
    const std::size_t u = i / unit(spec);
    const double v = p.w[i] / p.scales[u] + (p.zeros.empty() ? 0 : p.zeros[u]);
    outside += v < grid.level(grid.qmin) - grid.reach || v > grid.level(grid.qmax) + grid.reach;
  }
  return outside / double(p.w.size());
}

struct Received {
  Values out, dw, dlog;
};

Received run(const Row& row, Point& p) {
  Graph g;
  g.begin(Graph::Mode::training);
  const Var w = g.input({p.w.data(), {kRows, kCols}});
  Values logs;
  for (const double s : p.scales) logs.push_back(std::log(std::abs(s)) - std::log(kFirst));
  const Var l = g.input({logs.data(), {std::ssize(logs)}});
  const std::vector<RangeAnchor> anchors = p.anchors(row.spec);
  Values first;
  for (const double s : p.scales) first.push_back(std::copysign(kFirst, s));
  const Var y = row.op == "fake_quant_ste"
                    ? fake_quant_ste(w, row.spec, anchors, row.ste)
                    : fake_quant_lsq(w, l, first, row.spec, row.ste, nullptr, p.zeros);
  REQUIRE(g.nodes()[y.id].op->name == row.op);
  g.keep(y);
  g.backward(y, p.dout);
  const auto copy = [](std::span<const real> v) { return Values(v.begin(), v.end()); };
  return {copy(y.value().flat()), copy(g.grad(w)), copy(g.grad(l))};
}

void check_close(const Values& received, const Values& expected, std::string_view what) {
  test::check_close(received, expected, what, 1e-8);
}

TEST_CASE("straight-through is the gradient of frozen rounding") {
  for (const Row& row : rows()) {
    INFO(describe(row));
    const bool lsq = row.op == "fake_quant_lsq";
    Point p = lsq ? lsq_point(row.spec) : ste_point(row.spec);
    const double clipped = clipped_share(p, row.spec);
    CHECK(clipped > 0.2);
    CHECK(clipped < 0.8);
    const Received received = run(row, p);

    const auto form = row.ste == Ste::plain ? StraightThrough::plain : StraightThrough::clipped;
    const FrozenRounding function = frozen(row.spec, form, p.zeros);
    check_close(received.out, function.value(p.w, p.scales, function.residuals(p.w, p.scales)),
                "value");
    check_close(received.dw, function.differentiate(p.w, p.scales, p.dout).dw, "dw");
    // Plain: the identity by definition, to the last bit.
    if (row.ste == Ste::plain) CHECK(received.dw == p.dout);
    if (!lsq) continue;

    // Equation 3 is the derivative of the clipped form, whatever happens to the weight's gradient.
    const FrozenRounding step = frozen(row.spec, StraightThrough::clipped, p.zeros);
    Values dlog = step.differentiate(p.w, p.scales, p.dout).ds;
    const double n = double(unit(row.spec)), qmax = grid_of(row.spec).qmax;
    for (std::size_t u = 0; u < dlog.size(); ++u) dlog[u] *= p.scales[u] / std::sqrt(n * qmax);
    check_close(received.dlog, dlog, "dlog");
  }
}

TEST_CASE("every grid is differentiated on both sides of its zero") {
  for (const GridKind grid : {GridKind::signed_max, GridKind::asymmetric}) {
    Point p = ste_point({.bits = 4, .grid = grid});
    if (grid == GridKind::signed_max) {
      CHECK(*std::ranges::min_element(p.scales) < 0);
      CHECK(*std::ranges::max_element(p.scales) > 0);
    } else {
      CHECK(std::ranges::any_of(p.zeros, [](double z) { return z != 0; }));
    }
  }
}

// The worked example: s = 0.1, Q_N = 8, Q_P = 7, v = (.37, .95, -1.2, .04). By equation 3,
// dŵ/ds = (4 - 3.7, 7, -8, 0 - 0.4) = (.3, 7, -8, -.4), sum -1.1; the gradient scale is
// 1/√(4·7) = .188982, so -.207880; for log s that times s.
TEST_CASE("LSQ's gradient of the step is the paper's, with its scale") {
  const Spec spec{.bits = 4, .grid = GridKind::full};
  Values w{.37, .95, -1.2, .04};
  Values log_scale{std::log(0.1)}, one{1};
  const auto gradients = [&](const Values& dout) {
    Graph g;
    g.begin(Graph::Mode::training);
    const Var x = g.input({w.data(), {1, 4}}), l = g.input({log_scale.data(), {1}});
    g.backward(fake_quant_lsq(x, l, one, spec, Ste::clipped), dout);
    return std::pair{Values(g.grad(x).begin(), g.grad(x).end()), g.grad(l)[0]};
  };
  const Values by_hand{.3, 7, -8, -.4};
  const double scale = 0.1 / std::sqrt(28.0);
  for (std::size_t i = 0; i < 4; ++i) {
    Values dout(4);
    dout[i] = 1;
    CHECK(gradients(dout).second == Approx(by_hand[i] * scale).epsilon(1e-12));
  }
  const auto [dw, dlog] = gradients({1, 1, 1, 1});
  CHECK(dlog == Approx(0.1 * -0.207880).epsilon(1e-5));
  CHECK(dw == Values{1, 0, 0, 1});
  // 2·mean|w|/√qmax: the paper's first step for these weights.
  const Ranges paper = choose_scales(w, 1, 4, spec, RangeRule::lsq_paper, "t");
  CHECK(paper.at.scales[0] == Approx(0.483795).epsilon(1e-5));
}

TEST_CASE("at the grid's ends weight and step both have gradients") {
  const Values w{3.5, -3.5, 3.0, 4.0}, s{0.5}, dout{1, 10, 100, 1000};
  Values dw(4), dlog(1);
  lsq_backward(dw, dlog, dout, w, {s, {}, 4}, {-7, 7}, 1);
  CHECK(dw == Values{1, 10, 100, 0});
  CHECK(dlog[0] == 0.5 * (1 * 7 + 10 * -7 + 100 * 0 + 1000 * 7));
  Values masked(4);
  clipped_ste_backward(masked, dout, w, {s, {}, 4}, {-7, 7});
  CHECK(masked == Values{1, 10, 100, 0});
}

TEST_CASE("fake quantization adds to gradients, also for one input") {
  const Spec spec{.bits = 3};
  Point p = lsq_point(spec);
  const Row lsq{.op = "fake_quant_lsq", .spec = spec};
  const Received both = run(lsq, p);
  Values logs;
  for (const double s : p.scales) logs.push_back(std::log(s) - std::log(kFirst));
  const Values first(p.scales.size(), kFirst);
  Graph g;
  const auto begin = [&](bool weight, bool step) {
    g.begin(Graph::Mode::training);
    const Tensor w{p.w.data(), {kRows, kCols}}, l{logs.data(), {std::ssize(logs)}};
    return std::pair{weight ? g.input(w) : g.constant(w), step ? g.input(l) : g.constant(l)};
  };
  const auto copy = [&](Var v) { return Values(g.grad(v).begin(), g.grad(v).end()); };
  for (const Ste ste : {Ste::clipped, Ste::plain}) {
    const Values dw = run({.op = "fake_quant_lsq", .spec = spec, .ste = ste}, p).dw;
    auto [w, l] = begin(true, false);
    g.backward(fake_quant_lsq(w, l, first, spec, ste), p.dout);
    CHECK(copy(w) == dw);
    std::tie(w, l) = begin(false, true);
    g.backward(fake_quant_lsq(w, l, first, spec, ste), p.dout);
    CHECK(copy(l) == both.dlog);
    // Twice in one graph: twice the gradient (exact in binary).
    std::tie(w, l) = begin(true, true);
    const Var a = fake_quant_lsq(w, l, first, spec, ste),
              b = fake_quant_lsq(w, l, first, spec, ste);
    g.backward(add(a, b), p.dout);
    for (std::size_t i = 0; i < dw.size(); ++i) CHECK(copy(w)[i] == 2 * dw[i]);
    for (std::size_t u = 0; u < logs.size(); ++u) CHECK(copy(l)[u] == 2 * both.dlog[u]);
  }
}

}  // namespace notch::quant::fake_quant_test
