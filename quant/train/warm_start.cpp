#include "quant/train/warm_start.h"

#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {
namespace {

/// One row of a matrix.
void place(std::span<real> w, std::span<const real> before, const QTensor& q, std::int64_t row) {
  constexpr double kUnbounded = std::numeric_limits<double>::infinity();
  const bool own = has_own_levels(q.spec);
  const std::int64_t unit = unit_size(q.spec, q.rows, q.cols);
  Grid grid = own ? Grid{} : grid_of(q.spec);
  const auto level = [&](int code) { return static_cast<double>(grid.level(code)); };
  /// As far from a level to another one as its cell goes.
  const auto edge = [&](int from, int to) {
    return level(from) + (level(to) - level(from)) * (0.5 - kCellMargin);
  };
  for (std::int64_t c = 0; c < q.cols; ++c) {
    const std::int64_t i = row * q.cols + c;
    const auto u = static_cast<std::size_t>(i / unit), at = static_cast<std::size_t>(c);
    if (own) grid = unit_grid(q, i / unit);
    const double s = own ? 1 : static_cast<double>(q.at.scales[u]);
    const int z = q.at.zero_points.empty() ? 0 : q.at.zero_points[u];
    const int code = q.codes[static_cast<std::size_t>(i)];
    const double lo = code == grid.qmin ? -kUnbounded : edge(code, code - grid.step);
    const double hi = code == grid.qmax ? kUnbounded : edge(code, code + grid.step);
    const double v = static_cast<double>(before[at]) / s + z;
    if (v < lo || v > hi) {
      w[at] = static_cast<real>(((v < lo ? lo : hi) - z) * s);
    } else {
      w[at] = before[at];
    }
  }
}

}  // namespace

void return_to_cells(ParamStore& params, const ParamStore& before, const Quantized& rounded) {
  for (const NamedQTensor& t : rounded.tensors) {
    require_whole(t.q, t.name);
    Param* to = params.find(t.name);
    const Param* from = before.find(t.name);
    check(to && from && to->value.data && from->value.data &&
              to->value.shape == from->value.shape && to->value.size() == t.q.rows * t.q.cols,
          t.name, "is not the same matrix in both models");
    const auto part = [&](auto all, std::int64_t row) {
      return all.subspan(static_cast<std::size_t>(row * t.q.cols),
                         static_cast<std::size_t>(t.q.cols));
    };
    parallel_for(t.q.rows, [&](std::int64_t row) {
      place(part(to->value.flat(), row), part(std::span<const real>(from->value.flat()), row), t.q,
            row);
    });
  }
}

}  // namespace notch::quant
