#include "quant/kernels/quantize_rows.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/round.h"
#include "quant/kernels/round_blocks.h"

namespace notch::quant {

NOTCH_CLONES std::int32_t largest_magnitude(const float* x, std::int64_t n) {
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t magnitude = std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

namespace {

constexpr Index kChunk = 16384;  // elements per task

struct Extremes {
  float lo = 0, hi = 0;  // of min(x, 0) and max(x, 0)
  bool finite = true;
};

NOTCH_CLONES Extremes extremes(const float* x, Index n, bool two_sided) {
  const std::int32_t largest = largest_magnitude(x, n);
  if (largest >= 0x7f800000) return {.finite = false};
  const float absmax = std::bit_cast<float>(largest);
  if (!two_sided) return {.lo = -absmax, .hi = absmax};
  // Flipping the other bits of negative numbers makes the order of all floats that of integers.
  const auto flipped = [](std::int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); };
  std::int32_t lo = 0, hi = 0;
  for (Index i = 0; i < n; ++i) {
    const std::int32_t value = flipped(std::bit_cast<std::int32_t>(x[i]));
    lo = value < lo ? value : lo;
    hi = value > hi ? value : hi;
  }
  return {.lo = std::bit_cast<float>(flipped(lo)), .hi = std::bit_cast<float>(hi)};
}

struct RowScale {
  float scale = 1;
  int zero_point = 0;
};

RowScale scale_of(const Extremes& range, const RowGrid& grid) {
  if (!range.finite) return {std::numeric_limits<float>::quiet_NaN(), grid.static_zero_point};
  if (grid.static_scale != 0) return {grid.static_scale, grid.static_zero_point};
  if (range.lo == 0 && range.hi == 0) return {};
  const float width = grid.asymmetric ? range.hi - range.lo : range.hi;
  const int steps = grid.asymmetric ? grid.qmax - grid.qmin : grid.qmax;
  RowScale at{.scale = std::clamp(width / static_cast<float>(steps),
                                  std::numeric_limits<float>::denorm_min(), FLT_MAX)};
  if (grid.asymmetric) {
    const float lo = static_cast<float>(grid.qmin), hi = static_cast<float>(grid.qmax);
    at.zero_point = static_cast<int>(round_float(clamp_float(lo - range.lo / at.scale, lo, hi)));
  }
  return at;
}

/// Codes of x with `at`, with `offset` added, and the dequantized values unless that pointer is
/// null.
NOTCH_CLONES void round_row(std::uint8_t* codes, float* values, const float* x, Index n,
                            RowScale at, const RowGrid& grid, int offset) {
  round_blocks(codes, values, x, n, at.scale, grid.qmin - at.zero_point, grid.qmax - at.zero_point,
               at.zero_point + offset);
}

/// Σ codes of n units that begin `padded` codes apart.
template <class Code>
NOTCH_ROUND_INLINE void add_units_of(std::int32_t* sums, const Code* codes, Index n, Index unit,
                                     Index padded) {
  for (Index u = 0; u < n; ++u) {
    std::int32_t sum = 0;
    for (Index i = 0; i < unit; ++i) sum += codes[u * padded + i];
    sums[u] = sum;
  }
}
NOTCH_CLONES void add_units(std::int32_t* sums, const std::uint8_t* codes, Index n, Index unit,
                            Index padded) {
  add_units_of(sums, codes, n, unit, padded);
}
NOTCH_CLONES void add_units(std::int32_t* sums, const std::int8_t* codes, Index n, Index unit,
                            Index padded) {
  add_units_of(sums, codes, n, unit, padded);
}

}  // namespace

void quantize_rows(const ActivationCodes& out, std::span<float> dequantized,
                   std::span<const float> x, std::int64_t M, const IntegerShape& shape,
                   const RowGrid& grid) {
  constexpr const char* kWhere = "quantize_rows";
  check(shape.K >= 1 && shape.group >= 0, kWhere, "rows of ", shape.K, " inputs in groups of ",
        shape.group);
  const Index K = shape.K, row_codes = shape.row_codes();
  check(M >= 0 && std::ssize(x) == M * K && std::ssize(out.codes) == M * row_codes &&
            std::ssize(out.scales) == M && std::ssize(out.zero_points) == M &&
            std::ssize(out.sums) >= (shape.needs_sums() ? M * shape.units() : 0) &&
            (dequantized.empty() || dequantized.size() == x.size()),
        kWhere, "x has ", x.size(), " values, the codes ", out.codes.size(), " with ",
        out.scales.size(), " scales; wanted [", M, ", ", K, "] and [", M, ", ", row_codes, "]");
  check(-kCodeOffset <= grid.qmin && grid.qmin < grid.qmax && grid.qmax < kCodeOffset, kWhere,
        "codes [", grid.qmin, ", ", grid.qmax, "] do not fit 8 bits");
  const Index step = std::max<Index>(1, kChunk / K), tasks = quotient_up(M, step);
  // A row without padding is rounded in one go.
  const bool whole = row_codes == K;
  const Index units = whole ? 1 : shape.units(), unit = whole ? K : shape.unit();
  const Index padded = whole ? K : shape.padded_unit();
  const int offset = shape.code_offset();
  parallel_for(tasks, [&](Index task) {
    for (Index t = task * step; t < std::min(M, (task + 1) * step); ++t) {
      const float* const row = x.data() + t * K;
      const RowScale at = scale_of(extremes(row, K, grid.asymmetric), grid);
      const auto zero = static_cast<std::uint8_t>(at.zero_point + offset);
      out.scales[static_cast<std::size_t>(t)] = at.scale;
      out.zero_points[static_cast<std::size_t>(t)] = zero;
      std::uint8_t* const codes = out.codes.data() + t * row_codes;
      float* const values = dequantized.empty() ? nullptr : dequantized.data() + t * K;
      const bool broken = std::isnan(at.scale);
      if (broken && values) std::fill_n(values, K, at.scale);
      for (Index u = 0; u < units; ++u) {
        if (broken)
          std::fill_n(codes + u * padded, unit, zero);
        else
          round_row(codes + u * padded, values ? values + u * unit : nullptr, row + u * unit, unit,
                    at, grid, offset);
        std::fill_n(codes + u * padded + unit, padded - unit, std::uint8_t{0});
      }
      if (!shape.needs_sums()) continue;
      std::int32_t* const sums = out.sums.data() + t * shape.units();
      if (offset == 0)
        add_units(sums, reinterpret_cast<const std::int8_t*>(codes), shape.units(), shape.unit(),
                  shape.padded_unit());
      else
        add_units(sums, codes, shape.units(), shape.unit(), shape.padded_unit());
    }
  });
}

void round_rows_to_floats(std::span<real> out, std::span<const real> x, std::int64_t M,
                          std::int64_t K, const Grid& grid) {
  check(std::ssize(x) == M * K && out.size() == x.size(), "round_rows_to_floats", "got ", x.size(),
        " values and ", out.size(), " places for [", M, ", ", K, "]");
  parallel_for(M, [&](Index t) {
    const auto row = x.subspan(static_cast<std::size_t>(t * K), static_cast<std::size_t>(K));
    const auto to = out.subspan(static_cast<std::size_t>(t * K), row.size());
    if (!all_finite(row)) {
      std::ranges::fill(to, std::numeric_limits<real>::quiet_NaN());
      return;
    }
    const MinMax range = min_max(row);
    const real largest = std::max(-range.lo, range.hi);
    const real scale =
        largest > 0 ? std::max(largest / grid.highest(), std::numeric_limits<real>::denorm_min())
                    : real{1};
    fake_quant(to, row, {.scales = {&scale, 1}, .size = K}, grid);
  });
}

}  // namespace notch::quant
