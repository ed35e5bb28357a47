#include "quant/ops/scaled_codes.h"

#include <algorithm>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/ops/fake_quant.h"

namespace notch::quant {
namespace {

struct ScaledCodes {
  static constexpr std::string_view name = "scaled_codes";
  FixedCodes c;
  const PackedWeights* packed;
  std::span<real> scales{};  // [units], kept

  std::int64_t unit() const { return unit_size(c.spec, c.rows, c.cols); }
  /// body(first unit, units) in parallel over about 16,000 weights at a time.
  template <class Body>
  void for_units(const Body& body) const {
    const std::int64_t units = std::ssize(c.scales),
                       step = std::max<std::int64_t>(1, 16384 / unit());
    parallel_for((units + step - 1) / step,
                 [&](std::int64_t i) { body(i * step, std::min(step, units - i * step)); });
  }
  template <class T>
  std::span<T> weights(std::span<T> all, std::int64_t first, std::int64_t units) const {
    return part(all, first * unit(), units * unit());
  }

  Tensor dequantized(Forward& f) const {
    const Tensor y = f.out({c.rows, c.cols});
    for_units([&](std::int64_t first, std::int64_t units) {
      dequantize_codes(weights(y.flat(), first, units), weights(c.codes, first, units),
                       {part_if_any(std::span<const real>(scales), first, units),
                        part_if_any(c.zero_points, first, units), unit()},
                       grid_of(c.spec));
    });
    return y;
  }
  Tensor forward(Forward& f) {
    const Tensor logs = f.in(0);
    check(logs.size() == std::ssize(c.scales) &&
              std::ssize(c.scales) == unit_count(c.spec, c.rows, c.cols) &&
              std::ssize(c.codes) == c.rows * c.cols,
          name, "log_scales is ", logs.shape, " for ", c.scales.size(), " units and ",
          c.codes.size(), " codes of [", c.rows, ", ", c.cols, "]");
    scales = f.keep(logs.size());
    for (std::size_t u = 0; u < scales.size(); ++u)
      scales[u] = lsq_step(c.scales[u], logs.data[u], c.spec.scale);
#ifndef NOTCH_DOUBLE
    if (packed) {
      // One scale per tensor is one per row to the kernels.
      const bool whole = c.spec.granularity == Granularity::tensor;
      const auto row_scales = f.scratch(whole ? c.rows : 0);
      const auto row_zeros = f.scratch<std::int8_t>(whole && !c.zero_points.empty() ? c.rows : 0);
      if (whole) std::ranges::fill(row_scales, scales[0]);
      if (!row_zeros.empty()) std::ranges::fill(row_zeros, c.zero_points[0]);
      pack(*packed, c.codes, whole ? row_scales : scales,
           whole ? std::span<const std::int8_t>(row_zeros) : c.zero_points);
    }
#endif
    return dequantized(f);
  }
  Tensor recompute(Forward& f) const { return dequantized(f); }
  void backward(Backward& b) const {
    const std::span<real> dlog = b.grad(0);
    if (dlog.empty()) return;
    const std::span<const real> dout = b.dout();
    const Grid grid = grid_of(c.spec);
    for_units([&](std::int64_t first, std::int64_t units) {
      for (std::int64_t u = first; u < first + units; ++u) {
        const auto at = static_cast<std::size_t>(u);
        const int z = c.zero_points.empty() ? 0 : c.zero_points[at];
        double sum = 0;
        for (std::int64_t i = u * unit(); i < (u + 1) * unit(); ++i) {
          const auto k = static_cast<std::size_t>(i);
          sum += static_cast<double>(dout[k]) * static_cast<double>(grid.level(c.codes[k], z));
        }
        dlog[at] += static_cast<real>(static_cast<double>(scales[at]) * sum);
      }
    });
  }
};

}  // namespace

Var scaled_codes(Var log_scales, const FixedCodes& codes, const PackedWeights* packed) {
  return log_scales.tape().record(ScaledCodes{codes, packed}, {log_scales});
}

}  // namespace notch::quant
