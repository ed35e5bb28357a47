// Fake quantization: its forward is the packed weight, bit for bit; its backward kernels are their
// definitions, for any shape and any number of threads. (Derivatives: tests/gradients.)
#include "quant/ops/fake_quant.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/names.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/input_gradients.h"
#include "quant/kernels/oscillation.h"
#include "quant/kernels/round.h"
#include "quant/methods/reference.h"
#include "quant/numbers/ranges.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"
#include "tests/quant/tiny_models.h"

namespace fake_quant_test {

using namespace notch;
using namespace notch::quant;
using notch::test::all_specs;
using notch::test::copy;
using notch::test::error_of;
using notch::test::normal_matrix;
using notch::test::same_bits;

constexpr std::int64_t kRows = 6, kCols = 24, kGroup = 8;
using Reals = std::vector<real>;

struct Result {
  Reals out{}, dw{}, dlog{};
  bool operator==(const Result& b) const {
    return same_bits(out, b.out) && same_bits(dw, b.dw) && same_bits(dlog, b.dlog);
  }
};

Result run_ste(Reals w, std::int64_t rows, const Spec& spec, const Scales& at,
               Ste ste = Ste::clipped) {
  const std::vector<RangeAnchor> anchors = anchor_ranges(w, at, spec);
  Graph g;
  g.begin(Graph::Mode::training);
  const Var x = g.input({w.data(), {rows, std::ssize(w) / rows}});
  const Var y = fake_quant_ste(x, spec, anchors, ste);
  g.keep(y);
  g.backward(y, normal_matrix(std::ssize(w), 31));
  return {copy(y.value().flat()), copy(g.grad(x)), {}};
}

/// What LSQ keeps of the scales that it starts from: signs and zero points.
struct Start {
  Reals signs{}, zeros{};
};
Start start_of(const Scales& at) {
  Start start;
  for (const real s : at.scales) start.signs.push_back(std::copysign(real{1}, s));
  start.zeros.assign(at.zero_points.begin(), at.zero_points.end());
  return start;
}

Result run_lsq(Reals w, std::int64_t rows, const Spec& spec, Reals log_scale,
               Ste ste = Ste::clipped, const Start& start = {}) {
  Graph g;
  g.begin(Graph::Mode::training);
  const Var x = g.input({w.data(), {rows, std::ssize(w) / rows}});
  const Var l = g.input({log_scale.data(), {std::ssize(log_scale)}});
  const Reals first = start.signs.empty() ? Reals(log_scale.size(), real{1}) : start.signs;
  const Var y = fake_quant_lsq(x, l, first, spec, ste, nullptr, start.zeros);
  g.keep(y);
  g.backward(y, normal_matrix(std::ssize(w), 32));
  return {copy(y.value().flat()), copy(g.grad(x)), copy(g.grad(l))};
}

Reals log_of(const Reals& scales) {
  Reals logs;
  for (const real s : scales) logs.push_back(std::log(std::abs(s)));
  return logs;
}

Scales steps_of(const Reals& logs, const Spec& spec, const Start& start) {
  Scales at;
  for (std::size_t u = 0; u < logs.size(); ++u)
    at.scales.push_back(lsq_step(start.signs[u], logs[u], spec.scale));
  for (const real z : start.zeros) at.zero_points.push_back(static_cast<std::int8_t>(z));
  return at;
}

/// dx of y = x ŵᵀ for dy = 1: the ŵ that backward multiplies by, made again after forward.
Reals seen_by_backward(Reals w, const Spec& spec, const Scales& at, const Reals* log_scale) {
  const std::vector<RangeAnchor> anchors = anchor_ranges(w, at, spec);
  Graph g;
  g.begin(Graph::Mode::training);
  Reals x(w.size(), real{1}), identity(kRows * kRows), logs = log_scale ? *log_scale : Reals{};
  const Start start = start_of(at);
  for (std::size_t i = 0; i < kRows; ++i) identity[i * kRows + i] = 1;
  const Var in = g.input({x.data(), {kRows, kCols}});
  const Var weight = g.input({w.data(), {kRows, kCols}});
  const Var rounded = log_scale ? fake_quant_lsq(weight, g.input({logs.data(), {std::ssize(logs)}}),
                                                 start.signs, spec, {}, nullptr, start.zeros)
                                : fake_quant_ste(weight, spec, anchors, {});
  g.backward(linear(in, rounded), identity);
  return copy(g.grad(in));
}

TEST_CASE("backward multiplies by the weights of forward on every grid") {
  const Reals w = normal_matrix(kRows * kCols, 4, 0.1);
  for (const Spec& spec : all_specs(kGroup)) {
    INFO(name_of(spec));
    const Ranges ranges = choose_scales(w, kRows, kCols, spec, RangeRule::mse, "t");
    const Reals forward = run_ste(w, kRows, spec, ranges.at).out;
    CHECK(seen_by_backward(w, spec, ranges.at, nullptr) == forward);
    const Reals logs = log_of(ranges.at.scales);
    CHECK(seen_by_backward(w, spec, ranges.at, &logs) ==
          run_lsq(w, kRows, spec, logs, Ste::clipped, start_of(ranges.at)).out);
  }
}

TEST_CASE("fake-quant weights are the dequantized codes bit for bit") {
  Reals w = normal_matrix(kRows * kCols, 1, 0.1);
  std::fill(w.begin() + kCols, w.begin() + 2 * kCols, real{0});  // a row of zeros
  for (const Spec& spec : all_specs(kGroup)) {
    for (const RangeRule rule : {RangeRule::absmax, RangeRule::mse}) {
      INFO(name_of(spec) << " " << word_of(rule));
      const Ranges ranges = choose_scales(w, kRows, kCols, spec, rule, "t");
      const Reals codes = dequantize(quantize(w, kRows, kCols, spec, ranges.at, "t"));
      CHECK(same_bits(run_ste(w, kRows, spec, ranges.at).out, codes));
      const Reals logs = log_of(ranges.at.scales);
      const Start start = start_of(ranges.at);
      const Reals learned =
          dequantize(quantize(w, kRows, kCols, spec, steps_of(logs, spec, start), "t"));
      CHECK(same_bits(run_lsq(w, kRows, spec, logs, Ste::clipped, start).out, learned));
    }
  }
}

TEST_CASE("frozen scales leave quantized weights as they are") {
  const Reals w = normal_matrix(kRows * kCols, 2, 0.1);
  for (const Spec& spec : all_specs(kGroup)) {
    INFO(name_of(spec));
    const Ranges ranges = choose_scales(w, kRows, kCols, spec, RangeRule::mse, "t");
    const Grid grid = grid_of(spec);
    const auto apply = [&](const Reals& in) {
      Reals out(in.size());
      fake_quant(out, in, {ranges.at.scales, ranges.at.zero_points, unit_size(spec, kRows, kCols)},
                 grid);
      return out;
    };
    const Reals once = apply(w);
    CHECK(same_bits(apply(once), once));
    const Reals logs = log_of(ranges.at.scales);
    const auto learn = [&](const Reals& in) {
      return run_lsq(in, kRows, spec, logs, Ste::clipped, start_of(ranges.at)).out;
    };
    const Reals learned = learn(w);
    CHECK(same_bits(learn(learned), learned));
  }
}

TEST_CASE("a range found on quantized weights gives the same weights again") {
  // s = fl(a/qmax) makes fl(fl(qmax s)/qmax) = s; a learned step is no such quotient, and for about
  // one in nine the last place is lost. That must not count as quantizing something.
  const Reals w = normal_matrix(64 * 16, 3);
  const Spec spec{.bits = 4};
  const auto absmax = [&](const Reals& m) {
    return choose_scales(m, 64, 16, spec, RangeRule::absmax, "t").at;
  };
  for (const real ratio : {1.0f, 0.7f}) {
    Scales at;
    for (std::size_t row = 0; row < 64; ++row) {
      at.scales.push_back(scale_unit(std::span(w).subspan(16 * row, 16), spec, ratio).scale);
    }
    const Reals once = run_ste(w, 64, spec, at).out;
    CHECK(same_bits(run_ste(once, 64, spec, absmax(once)).out, once));
    CHECK(count_moved(w, once) > 64 * 14);  // all but the extremes
  }
  const Reals logs = normal_matrix(64, 33, 0.1);
  Reals wide = w;
  for (std::size_t row = 0; row < 64; ++row) wide[16 * row] = 20;  // reaches code 7 everywhere
  const Reals learned = run_lsq(wide, 64, spec, logs).out;
  const Reals again = run_ste(learned, 64, spec, absmax(learned)).out;
  CHECK_FALSE(same_bits(again, learned));
  CHECK(count_moved(learned, again) == 0);
}

TEST_CASE("a followed range equals its anchor's there, moves with extremes") {
  for (Spec spec : all_specs(kGroup)) {
    INFO(name_of(spec));
    const Reals w = normal_matrix(kRows * kCols, 5, 0.1);
    // Scales that no ratio of extremes gives: those that training may have learned.
    Scales at = choose_scales(w, kRows, kCols, spec, RangeRule::mse, "t").at;
    for (real& s : at.scales) s = round_scale(s * real(1.0371), spec.scale);
    const std::vector<RangeAnchor> anchors = anchor_ranges(w, at, spec);
    const auto unit = static_cast<std::size_t>(unit_size(spec, kRows, kCols));
    for (std::size_t u = 0; u < anchors.size(); ++u) {
      const MinMax seen = min_max(std::span(w).subspan(u * unit, unit));
      const UnitScale same = follow_range(anchors[u], seen, spec);
      const int z = at.zero_points.empty() ? 0 : at.zero_points[u];
      CHECK(same.scale == at.scales[u]);
      CHECK(same.zero_point == z);
      const UnitScale twice = follow_range(anchors[u], {2 * seen.lo, 2 * seen.hi}, spec);
      CHECK(twice.scale == 2 * at.scales[u]);  // a power of two rounds nothing
      CHECK(twice.zero_point == z);
    }
  }
  // Asymmetric: of [-1, 3] with 15 steps the zero lies at 15/4; of [-2, 2] in the middle.
  const Spec spec{.bits = 4, .grid = GridKind::asymmetric};
  const RangeAnchor anchor{.scale = real(4) / 15, .zero_point = -4, .lo = -1, .hi = 3};
  CHECK(follow_range(anchor, {-2, 2}, spec).zero_point == -4 + 4);  // rint(15 (-1/4 + 2/4)) = 4
  CHECK(follow_range(anchor, {-2, 2}, spec).scale == anchor.scale);
}

TEST_CASE("a unit of zeros keeps a given grid, and finds one without") {
  const Spec spec{.bits = 4};
  const MinMax moved{-0.001f, 0.0005f};
  CHECK(follow_range({.scale = 0.25f}, moved, spec).scale == 0.25f);
  CHECK(follow_range({.scale = 1}, moved, spec).scale == 0.001f / 7);
  CHECK(follow_range({.scale = 1}, {}, spec).scale == 1);
}

TEST_CASE("count_moved counts what changed beyond rounding") {
  const Reals before{1, -2, 0, 0, 3, 4};
  CHECK(count_moved(before, before) == 0);
  CHECK(count_moved(before, Reals{1.00001f, -2, 0, 1e-20f, 3, -4}) == 3);
  CHECK(count_moved(before, Reals{1, -2, 0, 0, std::nanf(""), 4}) == 1);
  CHECK(count_moved({}, {}) == 0);
}

TEST_CASE("the clipped straight-through kernel is its definition") {
  for (std::int64_t unit = 1; unit <= 40; ++unit) {
    constexpr std::size_t kUnits = 3;
    const std::size_t n = kUnits * static_cast<std::size_t>(unit);
    const Reals w = normal_matrix(std::ssize(Reals(n)), 4), dout = normal_matrix(std::ssize(w), 5);
    const Reals scales{0.2f, -0.15f, 0.4f};
    for (const std::vector<std::int8_t>& zeros :
         {std::vector<std::int8_t>{}, std::vector<std::int8_t>{3, -8, 0}}) {
      const Reals before = normal_matrix(std::ssize(w), 6);
      Reals expected = before, dw = before;
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t u = i / static_cast<std::size_t>(unit);
        const int z = zeros.empty() ? 0 : zeros[u];
        if (reference::ste_slope(w[i], scales[u], -8 - z, 7 - z) == 1) expected[i] += dout[i];
      }
      clipped_ste_backward(dw, dout, w, {scales, zeros, unit}, {-8, 7});
      CHECK(same_bits(dw, expected));
    }
  }
  clipped_ste_backward({}, {}, {}, {.scales = Reals{1}}, {-8, 7});  // not wanted: nothing to do
}

TEST_CASE("the weight that made the scale is inside the clip mask") {
  // x / fl(x / q) lies above q for about one x in ten: by the definition alone it would be masked.
  int above = 0;
  for (const int q : {1, 3, 7, 31, 127}) {
    for (const real x : normal_matrix(400, 7)) {
      const real largest = std::abs(x), scale = largest / static_cast<real>(q);
      above += largest / scale > static_cast<real>(q);
      const Reals w{largest, -largest, largest + scale}, dout{1, 1, 1}, scales{scale};
      const Reals inside{1, 1, 0};
      Reals ste(3), lsq(3);
      const Units units{.scales = scales, .size = 3};
      clipped_ste_backward(ste, dout, w, units, {-q, q});
      lsq_backward(lsq, {}, dout, w, units, {-q, q}, 1);
      CHECK(ste == inside);
      CHECK(lsq == inside);
      Reals input = dout, learned = dout;
      const InputRange range{.scale = scale, .qmin = -q, .qmax = q};
      mask_input_gradient(input, w, range);
      input_backward(learned, w, range, true);
      CHECK(input == inside);
      CHECK(learned == inside);
      // Dampening pulls at what is inside: not at all where it is on the last code.
      Reals pull(3);
      dampen_backward(pull, Reals{largest * (1 + 1e-7f), 0, w[2]}, units, {-q, q}, 1);
      CHECK(pull[2] == 0);
    }
  }
  CHECK(above > 20);  // such weights were among them
}

TEST_CASE("the learned-step kernel is its definition for every unit size") {
  for (std::int64_t unit = 1; unit <= 70; ++unit) {
    const Reals scales{0.2f, unit % 2 == 0 ? 0.35f : -0.35f};
    const std::vector<std::int8_t> zeros =
        unit % 3 == 0 ? std::vector<std::int8_t>{-4, 2} : std::vector<std::int8_t>{};
    const std::size_t n = 2 * static_cast<std::size_t>(unit);
    const Reals w = normal_matrix(2 * unit, 7), dout = normal_matrix(2 * unit, 8);
    Reals dw(n, 0.5f), dlog(2, 0.25f);
    const Units units{.scales = scales, .zeros = zeros, .size = unit};
    lsq_backward(dw, dlog, dout, w, units, {-4, 3}, 0.125);
    for (std::size_t u = 0; u < 2; ++u) {
      double sum = 0, size = 0;
      const int low = -4 - units.zero(u), high = 3 - units.zero(u);
      for (std::size_t i = u * n / 2; i < (u + 1) * n / 2; ++i) {
        const bool inside = reference::ste_slope(w[i], scales[u], low, high) == 1;
        CHECK(dw[i] == 0.5f + (inside ? dout[i] : 0));
        // rint(v) - v is exact in float, both being multiples of one ulp of v.
        const double slope = reference::lsq_step_slope(w[i], scales[u], low, high);
        sum += static_cast<double>(dout[i]) * slope;
        size += std::abs(static_cast<double>(dout[i]) * slope);
      }
      const double expected = 0.25 + 0.125 * static_cast<double>(scales[u]) * sum;
      CHECK(std::abs(dlog[u] - expected) <= 1e-7 * (1 + size));
    }
    Reals alone(2, 0.25f), weight(n, 0.5f);
    lsq_backward({}, alone, dout, w, units, {-4, 3}, 0.125);
    CHECK(same_bits(alone, dlog));
    lsq_backward(weight, {}, dout, w, units, {-4, 3}, 0.125);
    CHECK(same_bits(weight, dw));
  }
}

TEST_CASE("the number of threads changes no bit of values and gradients") {
  constexpr std::int64_t kTall = 300, kWide = 256;  // several tiles
  const Reals w = normal_matrix(kTall * kWide, 9, 0.1);
  for (const Granularity g : {Granularity::tensor, Granularity::channel, Granularity::group}) {
    const Spec spec{.bits = 4,
                    .granularity = g,
                    .group_size = g == Granularity::group ? 32 : 0,
                    .scale = ScaleType::f16};
    Spec shifted = spec;
    shifted.grid = GridKind::asymmetric;
    const Ranges ranges = choose_scales(w, kTall, kWide, spec, RangeRule::mse, "t");
    const Ranges moved = choose_scales(w, kTall, kWide, shifted, RangeRule::mse, "t");
    const Reals logs = log_of(ranges.at.scales);
    const auto all = [&] {
      return std::vector{
          run_ste(w, kTall, spec, ranges.at), run_ste(w, kTall, shifted, moved.at),
          run_lsq(w, kTall, spec, logs), run_lsq(w, kTall, spec, logs, Ste::plain),
          run_lsq(w, kTall, shifted, log_of(moved.at.scales), Ste::clipped, start_of(moved.at))};
    };
    const int before = threads();
    set_threads(1);
    const auto one = all();
    for (const int n : {2, 3, 7}) {
      set_threads(n);
      INFO(n << " threads, " << name_of(spec));
      CHECK(all() == one);
    }
    set_threads(before);
  }
}

TEST_CASE("learned steps are stored finite, signed, in their type") {
  CHECK(lsq_step(1, 0, ScaleType::f32) == 1);
  CHECK(lsq_step(1, std::log(0.1f), ScaleType::f16) == round_scale(0.1f, ScaleType::f16));
  CHECK(lsq_step(1, std::log(0.1f), ScaleType::bf16) == round_scale(0.1f, ScaleType::bf16));
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16, ScaleType::f16_7}) {
    CHECK(lsq_step(1, -1000, type) > 0);
    CHECK(lsq_step(-1, -1000, type) < 0);
    CHECK(lsq_step(1, 1000, type) == max_scale(type));
    CHECK(lsq_step(-1, 1000, type) == -max_scale(type));
  }
}

TEST_CASE("sizes and grids that do not fit are refused by the op's name") {
  Reals w(12), logs(2, 0);
  const Reals first(3, 1);
  const std::vector<RangeAnchor> anchors(2);
  Graph g;
  g.begin(Graph::Mode::training);
  const Var matrix = g.input({w.data(), {3, 4}}), vector = g.input({w.data(), {12}});
  const Var l = g.input({logs.data(), {2}});
  const auto where = [&](const auto& action) { return error_of(action).where; };
  CHECK(where([&] { fake_quant_ste(matrix, {}, anchors, Ste::plain); }) == "fake_quant_ste");
  CHECK(where([&] { fake_quant_ste(vector, {}, anchors, Ste::plain); }) == "fake_quant_ste");
  CHECK(where([&] { fake_quant_lsq(matrix, l, first, {}, Ste::plain); }) == "fake_quant_lsq");
  const Spec group{.granularity = Granularity::group, .group_size = 3};
  CHECK(where([&] { fake_quant_lsq(matrix, l, first, group, Ste::plain); }) == "fake_quant_lsq");
  // Zero points are there exactly where the grid has them.
  Reals three(3, 0);
  const Var right_size = g.input({three.data(), {3}});
  const auto use = [&](GridKind grid, const Reals& zeros) {
    fake_quant_lsq(matrix, right_size, first, {.grid = grid}, Ste::clipped, nullptr, zeros);
  };
  CHECK(where([&] { use(GridKind::asymmetric, {}); }) == "fake_quant_lsq");
  CHECK(where([&] { use(GridKind::narrow, Reals(3, 0)); }) == "fake_quant_lsq");
  use(GridKind::asymmetric, Reals(3, 0));
}

}  // namespace fake_quant_test
