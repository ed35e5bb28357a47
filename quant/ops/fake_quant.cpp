#include "quant/ops/fake_quant.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/elementary.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/round.h"
#include "quant/numbers/format.h"
#include "quant/numbers/gaussian_fit.h"

namespace notch::quant {
namespace {

/// Units [first, last) of a matrix and the weights they cover.
struct UnitSpan {
  std::size_t first = 0, count = 0, begin = 0, size = 0;
  template <class T>
  std::span<T> units(std::span<T> all) const {
    return all.empty() ? all : all.subspan(first, count);
  }
  /// With the scales (and zero points) of the whole matrix.
  Units of(std::span<const real> scales, std::span<const std::int8_t> zeros) const {
    return {units(scales), units(zeros), static_cast<std::int64_t>(size / count)};
  }
  template <class T>
  std::span<T> weights(std::span<T> all) const {
    return all.empty() ? all : all.subspan(begin, size);
  }
};

/// body(UnitSpan) in parallel over about 16,000 weights at a time; the cut depends on the shape
/// only.
template <class Body>
void for_units(std::int64_t units, std::int64_t unit, const Body& body) {
  const std::int64_t step = std::max<std::int64_t>(1, 16384 / unit);
  parallel_for(quotient_up(units, step), [&](std::int64_t i) {
    const std::int64_t first = i * step, count = std::min(step, units - first);
    body(UnitSpan{static_cast<std::size_t>(first), static_cast<std::size_t>(count),
                  static_cast<std::size_t>(first * unit), static_cast<std::size_t>(count * unit)});
  });
}

struct UnitShape {
  Grid grid{};
  std::int64_t units = 0, unit = 0;
};

UnitShape units_of(const Tensor& w, const Spec& spec, std::string_view op) {
  check(w.shape.rank() == 2, op, "w is ", w.shape, "; wanted [rows, cols]");
  validate(spec, w.cols(), op);
  check(w.size() > 0, op, "w is ", w.shape, ", which has no weights");
  return {grid_of(spec), unit_count(spec, w.rows(), w.cols()), unit_size(spec, w.rows(), w.cols())};
}

/// ŵ from scales that are known: the weights are not kept between their uses, only the scales.
Tensor dequantized(Forward& f, const UnitShape& s, std::span<const real> scales,
                   std::span<const std::int8_t> zero_points) {
  const Tensor w = f.in(0), y = f.out(w.shape);
  for_units(s.units, s.unit, [&](const UnitSpan& part) {
    fake_quant(part.weights(y.flat()), part.weights(std::span<const real>(w.flat())),
               part.of(scales, zero_points), s.grid);
  });
  return y;
}

/// ŵ of all units: choose(u) sets the scale (and zero point) of unit u, then its weights are
/// rounded while they are in the cache; with `packed`, into its panels as well.
template <class Choose>
void round_units(Forward& f, const Tensor& y, const Tensor& w, const UnitShape& s,
                 std::span<const real> scales, std::span<const std::int8_t> zero_points,
                 const PackedWeights* packed, const Choose& choose) {
#ifndef NOTCH_DOUBLE
  if (packed) {
    const std::int64_t rows = w.rows(), per_row = s.units / rows;  // 0: one unit per tensor
    if (per_row == 0) {
      choose(std::size_t{0});
      const auto row_scales = f.scratch(rows);
      std::ranges::fill(row_scales, scales[0]);
      scales = row_scales;
      if (!zero_points.empty()) {
        const auto row_zeros = f.scratch<std::int8_t>(rows);
        std::ranges::fill(row_zeros, zero_points[0]);
        zero_points = row_zeros;
      }
    }
    // Grids of odd codes are rounded row by row and packed then; the others in one pass.
    const bool in_one_pass = s.grid.is_every_integer();
    const auto codes = f.scratch<std::int8_t>(in_one_pass ? 0 : w.size());
    parallel_for(packed->shape.panels(), [&](std::int64_t panel) {
      const std::int64_t first = panel * IntegerShape::kPanel;
      const std::int64_t last = std::min(rows, first + IntegerShape::kPanel);
      for (std::int64_t u = first * per_row; u < last * per_row; ++u) {
        choose(static_cast<std::size_t>(u));
      }
      if (in_one_pass) {
        quantize_panel(*packed, panel, y.flat(), w.flat(), scales, zero_points, s.grid);
        return;
      }
      const auto part = [&](auto span, std::int64_t per) {
        return span.subspan(static_cast<std::size_t>(first * per),
                            static_cast<std::size_t>((last - first) * per));
      };
      const std::int64_t row_units = std::ssize(scales) / rows;
      const Units units{.scales = part(scales, row_units), .size = w.cols() / row_units};
      const auto weights = part(std::span<const real>(w.flat()), w.cols());
      fake_quant(part(y.flat(), w.cols()), weights, units, s.grid);
      round_codes(part(codes, w.cols()), weights, units, s.grid);
      pack_panel(*packed, panel, codes, scales, {});
    });
    return;
  }
#endif
  static_cast<void>(f), static_cast<void>(packed);
  for_units(s.units, s.unit, [&](const UnitSpan& part) {
    for (std::size_t u = part.first; u < part.first + part.count; ++u) choose(u);
    fake_quant(part.weights(y.flat()), part.weights(std::span<const real>(w.flat())),
               part.of(scales, zero_points), s.grid);
  });
}

struct FakeQuantSte {
  static constexpr std::string_view name = "fake_quant_ste";
  Spec spec;
  Ste ste;
  std::span<const RangeAnchor> anchors;
  const PackedWeights* packed;
  std::span<real> scales{};              // [units], kept
  std::span<std::int8_t> zero_points{};  // [units] for asymmetric grids, kept

  Tensor forward(Forward& f) {
    const Tensor w = f.in(0);
    const UnitShape s = units_of(w, spec, name);
    check(std::ssize(anchors) == s.units, name, anchors.size(), " anchors for ", s.units, " units");
    scales = f.keep(s.units);
    if (has_zero_points(spec)) zero_points = f.keep<std::int8_t>(s.units);
    const Tensor y = f.out(w.shape);
    const auto unit = static_cast<std::size_t>(s.unit);
    round_units(f, y, w, s, scales, zero_points, packed, [&](std::size_t u) {
      const MinMax now = min_max(std::span<const real>(w.flat()).subspan(u * unit, unit));
      const UnitScale at = follow_range(anchors[u], now, spec);
      scales[u] = at.scale;
      if (has_zero_points(spec)) zero_points[u] = static_cast<std::int8_t>(at.zero_point);
    });
    return y;
  }
  Tensor recompute(Forward& f) const {
    return dequantized(f, units_of(f.in(0), spec, name), scales, zero_points);
  }
  void backward(Backward& b) const {
    if (ste == Ste::plain) {
      b.pass_dout(0);
      return;
    }
    const Tensor w = b.in(0);
    const UnitShape s = units_of(w, spec, name);
    const auto dw = b.grad(0);
    const auto dout = b.dout();
    for_units(s.units, s.unit, [&](const UnitSpan& part) {
      clipped_ste_backward(part.weights(dw), part.weights(dout),
                           part.weights(std::span<const real>(w.flat())),
                           part.of(scales, zero_points), s.grid);
    });
  }
};

struct FakeQuantLsq {
  static constexpr std::string_view name = "fake_quant_lsq";
  Spec spec;
  Ste ste;
  std::span<const real> start;
  const PackedWeights* packed;
  std::span<const real> zeros;           // what a checkpoint has
  std::span<real> scales{};              // [units], kept
  std::span<std::int8_t> zero_points{};  // [units] for asymmetric grids, kept

  Tensor forward(Forward& f) {
    const Tensor w = f.in(0), log_scale = f.in(1);
    const UnitShape s = units_of(w, spec, name);
    check(log_scale.size() == s.units && std::ssize(start) == s.units, name, "log_scale is ",
          log_scale.shape, " and start has ", start.size(), " for ", s.units, " units");
    check(std::ssize(zeros) == (has_zero_points(spec) ? s.units : 0), name, zeros.size(),
          " zero points for ", s.units, " units on the grid ", name_of(spec.grid));
    scales = f.keep(s.units);
    if (!zeros.empty()) {
      zero_points = f.keep<std::int8_t>(s.units);
      std::ranges::transform(zeros, zero_points.begin(),
                             [](real z) { return static_cast<std::int8_t>(z); });
    }
    const Tensor y = f.out(w.shape);
    round_units(f, y, w, s, scales, zero_points, packed, [&](std::size_t u) {
      scales[u] = lsq_step(start[u], log_scale.data[u], spec.scale);
    });
    return y;
  }
  Tensor recompute(Forward& f) const {
    return dequantized(f, units_of(f.in(0), spec, name), scales, zero_points);
  }
  void backward(Backward& b) const {
    const Tensor w = b.in(0);
    const UnitShape s = units_of(w, spec, name);
    const auto dlog = b.grad(1);
    const auto dw = ste == Ste::clipped ? b.grad(0) : std::span<real>{};
    const auto dout = b.dout();
    const double factor =
        1 / std::sqrt(static_cast<double>(s.unit) * static_cast<double>(s.grid.qmax));
    for_units(s.units, s.unit, [&](const UnitSpan& part) {
      lsq_backward(part.weights(dw), part.units(dlog), part.weights(dout),
                   part.weights(std::span<const real>(w.flat())), part.of(scales, zero_points),
                   s.grid, factor);
    });
    if (ste == Ste::plain) b.pass_dout(0);
  }
};

struct FakeQuantGaussian {
  static constexpr std::string_view name = "fake_quant_gaussian";
  Spec spec;
  double of_normal;
  const PackedWeights* packed;
  std::span<real> scales{};  // [units], kept

  Tensor forward(Forward& f) {
    const Tensor w = f.in(0);
    const UnitShape s = units_of(w, spec, name);
    check(!has_zero_points(spec), name, "the grid ", name_of(spec.grid), " has zero points");
    scales = f.keep(s.units);
    const Tensor y = f.out(w.shape);
    const auto unit = static_cast<std::size_t>(s.unit);
    round_units(f, y, w, s, scales, {}, packed, [&](std::size_t u) {
      scales[u] = fitted_scale(std::span<const real>(w.flat()).subspan(u * unit, unit), spec,
                               of_normal);
    });
    return y;
  }
  Tensor recompute(Forward& f) const {
    return dequantized(f, units_of(f.in(0), spec, name), scales, {});
  }
  void backward(Backward& b) const {
    const Tensor w = b.in(0);
    const UnitShape s = units_of(w, spec, name);
    // No weight between two levels is farther from one than that, so that the ends alone decide.
    Grid trusted = s.grid;
    trusted.reach = static_cast<real>(trusted_error(s.grid));
    const auto dw = b.grad(0);
    const auto dout = b.dout();
    for_units(s.units, s.unit, [&](const UnitSpan& part) {
      clipped_ste_backward(part.weights(dw), part.weights(dout),
                           part.weights(std::span<const real>(w.flat())), part.of(scales, {}),
                           trusted);
    });
  }
};

}  // namespace

Var fake_quant_ste(Var w, const Spec& spec, std::span<const RangeAnchor> anchors, Ste ste,
                   const PackedWeights* packed) {
  return w.tape().record(FakeQuantSte{spec, ste, anchors, packed}, {w});
}

Var fake_quant_lsq(Var w, Var log_scale, std::span<const real> start, const Spec& spec, Ste ste,
                   const PackedWeights* packed, std::span<const real> zero_points) {
  return w.tape().record(FakeQuantLsq{spec, ste, start, packed, zero_points}, {w, log_scale});
}

Var fake_quant_gaussian(Var w, const Spec& spec, double of_normal, const PackedWeights* packed) {
  return w.tape().record(FakeQuantGaussian{spec, of_normal, packed}, {w});
}

real lsq_step(real start, real log_scale, ScaleType type) {
  return round_scale(start * elementary::exp(log_scale), type);
}

}  // namespace notch::quant
