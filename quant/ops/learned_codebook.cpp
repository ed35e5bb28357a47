#include "quant/ops/learned_codebook.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "quant/kernels/fake_quant.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

constexpr real kUnitScale = 1;

/// Which level of a list is nearest, as codes have it: ToLevel is what rounds to a Grid's levels.
ToLevel nearest_in(std::span<const real> levels) {
  return ToLevel({.qmax = static_cast<int>(levels.size()) - 1, .levels = levels});
}

/// A list of levels as a grid with the scale 1.
Grid grid_of_levels(std::span<const real> levels) {
  const std::size_t n = levels.size();
  const real reach = std::max(levels[1] - levels[0], levels[n - 1] - levels[n - 2]) / 2;
  return {.qmax = static_cast<int>(n) - 1, .reach = reach, .levels = levels};
}

real spread(std::span<const real> levels) {
  double squares = 0;
  for (const real v : levels) squares += static_cast<double>(v) * static_cast<double>(v);
  return static_cast<real>(std::sqrt(squares / static_cast<double>(levels.size())));
}

/// Which parameter each level is of, after they were put in order.
using Order = std::array<std::size_t, kMostLevels>;
Order order_of(std::span<const real> first, std::span<const real> shift, ScaleType type,
               std::span<real> to) {
  std::array<real, kMostLevels> values{};
  Order order{};
  std::iota(order.begin(), order.end(), std::size_t{0});
  const real a = spread(first);
  for (std::size_t j = 0; j < first.size(); ++j)
    values[j] = round_level(first[j] + a * shift[j], type);
  std::stable_sort(order.begin(), order.begin() + std::ssize(first),
                   [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  for (std::size_t j = 0; j < to.size(); ++j) to[j] = values[order[j]];
  return order;
}

LevelLists lists_of(const Tensor& w, const Spec& spec, std::size_t levels, std::string_view op) {
  check(w.shape.rank() == 2, op, "w is ", w.shape, "; wanted [rows, cols]");
  validate(spec, w.cols(), op);
  check(format_of(spec.grid).levels == Levels::unit, op, "the ", name_of(spec.grid),
        " grid has no list of levels per unit");
  const LevelLists s(spec, w.rows(), w.cols());
  check(static_cast<std::int64_t>(levels) == s.units * s.levels, op, levels, " levels for ", s.units,
        " units of ", s.levels);
  return s;
}

/// Both ops: they differ in where the levels come from.
struct ListRounding {
  Spec spec;
  Ste ste;
  std::span<const real> start;
  std::span<const real> levels = start;  // [units · 2^bits]

  Tensor rounded(Forward& f, const LevelLists& s) const {
    const Tensor w = f.in(0), y = f.out(w.shape);
    s.for_units([&](std::int64_t u) {
      fake_quant(s.weights(y.flat(), u), s.weights(std::span<const real>(w.flat()), u),
                 {.scales = {&kUnitScale, 1}, .size = s.unit}, grid_of_levels(s.list(levels, u)));
    });
    return y;
  }
  void pass(Backward& b, const LevelLists& s) const {
    if (ste == Ste::plain) return b.pass_dout(0);
    const Tensor w = b.in(0);
    const auto dw = b.grad(0);
    if (dw.empty()) return;
    const auto dout = b.dout();
    s.for_units([&](std::int64_t u) {
      clipped_ste_backward(
          s.weights(dw, u), s.weights(dout, u), s.weights(std::span<const real>(w.flat()), u),
          {.scales = {&kUnitScale, 1}, .size = s.unit}, grid_of_levels(s.list(levels, u)));
    });
  }
};

struct FakeQuantListed : ListRounding {
  static constexpr std::string_view name = "fake_quant_listed";

  Tensor forward(Forward& f) { return recompute(f); }
  Tensor recompute(Forward& f) const {
    return rounded(f, lists_of(f.in(0), spec, start.size(), name));
  }
  void backward(Backward& b) const { pass(b, lists_of(b.in(0), spec, start.size(), name)); }
};

struct FakeQuantShifted : ListRounding {
  static constexpr std::string_view name = "fake_quant_shifted";

  Tensor forward(Forward& f) {
    const Tensor w = f.in(0), shift = f.in(1);
    const LevelLists s = lists_of(w, spec, start.size(), name);
    check(shift.size() == std::ssize(start), name, "shift is ", shift.shape, " for ", start.size(),
          " levels");
    const std::span<real> shifted = f.keep(std::ssize(start));
    s.for_units([&](std::int64_t u) {
      shift_levels(s.list(shifted, u), s.list(start, u),
                   s.list(std::span<const real>(shift.flat()), u), spec.scale);
    });
    levels = shifted;
    return rounded(f, s);
  }
  Tensor recompute(Forward& f) const {
    return rounded(f, lists_of(f.in(0), spec, start.size(), name));
  }
  void backward(Backward& b) const {
    const Tensor w = b.in(0), shift = b.in(1);
    const LevelLists s = lists_of(w, spec, start.size(), name);
    const auto dshift = b.grad(1);
    const auto dout = b.dout();
    if (!dshift.empty()) s.for_units([&](std::int64_t u) {
      const auto first = s.list(start, u);
      std::array<real, kMostLevels> scratch{};
      const Order order = order_of(first, s.list(std::span<const real>(shift.flat()), u), spec.scale,
                                   std::span(scratch).first(first.size()));
      const ToLevel nearest = nearest_in(s.list(levels, u));
      std::array<double, kMostLevels> sums{};
      const auto in = s.weights(std::span<const real>(w.flat()), u), d = s.weights(dout, u);
      for (std::size_t i = 0; i < in.size(); ++i)
        sums[static_cast<std::size_t>(nearest.code(in[i], 0))] += static_cast<double>(d[i]);
      const auto to = s.list(dshift, u);
      const double a = static_cast<double>(spread(first));
      for (std::size_t j = 0; j < to.size(); ++j) to[order[j]] += static_cast<real>(a * sums[j]);
    });
    pass(b, s);  // last: it may give dout away
  }
};

}  // namespace

void refit_levels(std::span<real> to, std::span<const real> now, std::span<const real> w,
                  ScaleType type) {
  check(!now.empty() && std::ssize(now) <= kMostLevels && to.size() == now.size(), "levels",
        to.size(), " of ", now.size(), "; a list has 1 to ", kMostLevels);
  const ToLevel nearest = nearest_in(now);
  std::array<double, kMostLevels> sums{};
  std::array<std::int64_t, kMostLevels> counts{};
  for (const real v : w) {
    const auto j = static_cast<std::size_t>(nearest.code(v, 0));
    sums[j] += static_cast<double>(v);
    ++counts[j];
  }
  for (std::size_t j = 0; j < to.size(); ++j) {
    to[j] = counts[j] == 0
                ? now[j]
                : round_level(static_cast<real>(sums[j] / static_cast<double>(counts[j])), type);
  }
}

void shift_levels(std::span<real> to, std::span<const real> first, std::span<const real> shift,
                  ScaleType type) {
  check(
      to.size() == first.size() && shift.size() == first.size() && std::ssize(first) <= kMostLevels,
      "levels", to.size(), " of ", first.size(), " moved by ", shift.size());
  order_of(first, shift, type, to);
}

Var fake_quant_listed(Var w, const Spec& spec, std::span<const real> levels, Ste ste) {
  return w.tape().record(FakeQuantListed{{spec, ste, levels}}, {w});
}

Var fake_quant_shifted(Var w, Var shift, const Spec& spec, std::span<const real> first, Ste ste) {
  return w.tape().record(FakeQuantShifted{{spec, ste, first}}, {w, shift});
}

}  // namespace notch::quant
