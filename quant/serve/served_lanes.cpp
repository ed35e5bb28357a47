#include "quant/serve/served_lanes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "quant/numbers/format.h"

namespace notch::quant {
namespace {

constexpr Index kTileWeights = 65536;  // of a parallel tile of packed rows
constexpr Index kPad = 16;             // what packed_gemv wants rows of x to be a multiple of

std::size_t reals_of(Index bytes) {
  return (static_cast<std::size_t>(bytes) + sizeof(real) - 1) / sizeof(real);
}

/// Of a matrix that has weights.
Index code_bytes(const Spec& spec, Index rows, Index cols) {
  check(rows > 0 && cols > 0, "served lanes", "a matrix of [", rows, ", ", cols,
        "] has no weights");
  extent("served lanes", {rows, cols, 8});
  return extent("served lanes", {rows, repacked_row_bytes(cols, held_bits(spec))});
}

/// Runs body(begin, end) over rows of `cols` weights in parallel tiles.
template <class Body>
void for_row_tiles(Index rows, Index cols, const Body& body) {
  const Index step = std::max<Index>(4, kTileWeights / std::max<Index>(1, cols) / 4 * 4);
  parallel_for(quotient_up(rows, step),
               [&](Index i) { body(i * step, std::min(rows, (i + 1) * step)); });
}

/// Rows of x [M, K] with zeros behind them, `ld` apart.
std::span<const float> padded(const Forward& f, std::span<const float> x, Index M, Index K,
                              Index ld) {
  if (ld == K) return x;
  const std::span<float> wide = f.scratch<float>(M * ld);
  std::ranges::fill(wide, 0.0f);
  for (Index m = 0; m < M; ++m) std::copy_n(x.data() + m * K, K, wide.data() + m * ld);
  return wide;
}

}  // namespace

StoredScale stored_scale(ScaleType type) {
  switch (type) {
    case ScaleType::f16:
    case ScaleType::f16_7:
      return StoredScale::f16;
    case ScaleType::bf16:
      return StoredScale::bf16;
    case ScaleType::f32:
      break;
    case ScaleType::e8m0:
    case ScaleType::nested:
    case ScaleType::bilevel:
      check(false, "served lanes", "scales are held as f32, f16 or bf16");
  }
  return StoredScale::f32;
}

int held_bits(const Spec& spec) {
  const Grid grid = grid_of(spec);
  const bool few = !grid.levels.empty() && std::ssize(grid.levels) <= kMostLevels;
  const int indices = few ? kMostLevels - 1 : grid.qmax - grid.qmin;
  return static_cast<int>(std::bit_width(static_cast<unsigned>(indices)));
}

ServedLanes::ServedLanes(const Spec& spec, Index rows, Index cols)
    : spec_(held_spec(spec)), codes_(reals_of(code_bytes(spec, rows, cols))) {
  validate(spec, cols, "served lanes");
  check(!format_of(spec.grid).has_words(), "served lanes", "columns of the ", name_of(spec.grid),
        " grid share words");
  const bool per_tensor = spec.granularity == Granularity::tensor;
  rows_ = {.codes = reinterpret_cast<const std::uint8_t*>(codes_.flat().data()),
           .scale = stored_scale(spec_.scale),
           .bits = held_bits(spec),
           .qmin = grid_of(spec).qmin,
           .rows = rows,
           .cols = cols,
           .unit = per_tensor ? cols : unit_size(spec, rows, cols)};
  const auto units = static_cast<std::size_t>(per_tensor ? rows : unit_count(spec, rows, cols));
  scales_.resize(units * static_cast<std::size_t>(scale_bytes(spec_.scale)));
  if (has_zero_points(spec)) zeros_.resize(units);
  if (format_of(spec.grid).levels == Levels::unit) {
    // Levels of a unit come without a scale, and one list of a matrix is one for each row.
    rows_.scale = StoredScale::f32;
    rows_.level_step = kMostLevels;
    const std::vector<float> ones(units, 1);
    scales_.resize(units * sizeof(float));
    std::memcpy(scales_.data(), ones.data(), scales_.size());
    levels_.assign(units * kMostLevels, 0);
    rows_.levels = levels_.data();
  } else if (const Grid grid = grid_of(spec); !grid.levels.empty()) {
    levels_.assign(rows_.bits == 8 ? 256 : kMostLevels, 0);
    std::ranges::transform(grid.levels, levels_.begin(), [](real v) { return float(v); });
    rows_.levels = levels_.data();
  }
  rows_.scales = scales_.data();
  rows_.zeros = zeros_.empty() ? nullptr : zeros_.data();
}

ServedLanes::ServedLanes(const QTensor& q) : ServedLanes(q.spec, q.rows, q.cols) { set_rows(0, q); }

void ServedLanes::set_rows(Index first_row, const QTensor& part) {
  const Index cols = rows_.cols;
  check(held_spec(part.spec) == spec_ && part.cols == cols && first_row >= 0 &&
            first_row + part.rows <= rows_.rows,
        "served lanes", name_of(part.spec), " [", part.rows, ", ", part.cols, "] from row ",
        first_row, " on does not fit ", name_of(spec_), " [", rows_.rows, ", ", cols, "]");
  require_whole(part, "served lanes");
  const Index bytes = repacked_row_bytes(cols, rows_.bits);
  auto* memory = reinterpret_cast<std::uint8_t*>(codes_.flat().data());
  const std::span<const std::int8_t> codes(part.codes);
  for_row_tiles(part.rows, cols, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      repack_row({memory + (first_row + r) * bytes, static_cast<std::size_t>(bytes)},
                 codes.subspan(static_cast<std::size_t>(r * cols), static_cast<std::size_t>(cols)),
                 rows_.bits, rows_.qmin);
  });
  // One scale per tensor is one for each row here.
  if (rows_.level_step > 0) return set_levels(first_row, part);
  const Index copies = spec_.granularity == Granularity::tensor ? part.rows : 1;
  const std::vector<std::uint8_t> scales = pack_scales(part.at.scales, spec_.scale);
  const Index units = first_row * (cols / rows_.unit);
  std::byte* scale_to = scales_.data() + units * scale_bytes(spec_.scale);
  std::int8_t* zero_to = zeros_.data() + units;
  for (Index i = 0; i < copies; ++i) {
    std::memcpy(scale_to + i * std::ssize(scales), scales.data(), scales.size());
    std::ranges::copy(part.at.zero_points, zero_to + i * std::ssize(part.at.zero_points));
  }
}

void ServedLanes::set_levels(Index first_row, const QTensor& part) {
  const Index per_row = rows_.cols / rows_.unit, each = scales_per_unit(spec_);
  const bool one = spec_.granularity == Granularity::tensor;
  for (Index u = 0; u < part.rows * per_row; ++u) {
    std::transform(part.at.scales.begin() + (one ? 0 : u * each),
                   part.at.scales.begin() + (one ? 1 : u + 1) * each,
                   levels_.begin() + (first_row * per_row + u) * kMostLevels,
                   [](real v) { return static_cast<float>(v); });
  }
}

void ServedLanes::multiply(const Forward& f, std::span<float> y, std::span<const float> x,
                           std::span<const float> bias, Index M) const {
  const Index N = rows_.rows, K = rows_.cols, ld = round_up(K, kPad);
  check(std::ssize(y) == M * N && std::ssize(x) == M * K && (bias.empty() || std::ssize(bias) == N),
        "served lanes", "y, x and bias hold ", y.size(), ", ", x.size(), " and ", bias.size(),
        " values; wanted [", M, ", ", N, "], [", M, ", ", K, "], and ", N, " or none");
  const std::span<const float> wide = padded(f, x, M, K, ld);
  const float* const added = bias.empty() ? nullptr : bias.data();
  for_row_tiles(N, K, [&](Index begin, Index end) {
    packed_gemv(y.data(), N, wide.data(), ld, M, rows_, added, begin, end);
  });
}

void ServedLanes::dequantize_row(std::span<float> out, Index row) const {
  quant::dequantize_row(out, rows_, row);
}

Index ServedLanes::bytes() const {
  return static_cast<Index>(codes_.size() * sizeof(real) + scales_.size() + zeros_.size() +
                            levels_.size() * sizeof(float));
}

Index ServedLanes::bytes(const Spec& spec, Index rows, Index cols) {
  const Index units = spec.granularity == Granularity::tensor ? rows : unit_count(spec, rows, cols);
  const bool lists = format_of(spec.grid).levels == Levels::unit;
  if (lists) return rows * repacked_row_bytes(cols, held_bits(spec)) + units * (4 + kMostLevels * 4);
  const Index levels = grid_of(spec).levels.empty() ? 0 : held_bits(spec) == 8 ? 256 : kMostLevels;
  return rows * repacked_row_bytes(cols, held_bits(spec)) +
         units * (scale_bytes(held_spec(spec).scale) + (has_zero_points(spec) ? 1 : 0)) +
         levels * std::int64_t{sizeof(float)};
}

}  // namespace notch::quant
