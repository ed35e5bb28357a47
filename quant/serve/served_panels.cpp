#include "quant/serve/served_panels.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/serve/served_lanes.h"

namespace notch::quant {
namespace {

/// Bits of a code in panels: of every code that the grid has, and no other.
int panel_bits(const Spec& spec) {
  const Grid grid = grid_of(spec);
  return static_cast<int>(
      std::bit_width(static_cast<unsigned>((grid.qmax - grid.qmin) / grid.step)));
}

IntegerShape shape_of(const Spec& spec, Index rows, Index cols) {
  return {.N = rows,
          .K = cols,
          .group = spec.granularity == Granularity::group ? spec.group_size : 0,
          .zero_points = has_zero_points(spec),
          .bits = panel_bits(spec)};
}

NarrowWeights narrow_of(const Spec& spec, const IntegerShape& shape) {
  const Grid grid = grid_of(spec);
  return {.shape = shape, .qmin = grid.qmin, .step = grid.step, .scale = stored_scale(spec.scale)};
}

constexpr auto kReal = static_cast<Index>(sizeof(real));

FlatBlock bytes_of(Index n) { return FlatBlock(static_cast<std::size_t>(quotient_up(n, kReal))); }

NOTCH_CLONES void to_weights(float* out, const std::int8_t* codes, Index n, int zero, float scale) {
  for (Index i = 0; i < n; ++i) out[i] = static_cast<float>(codes[i] - zero) * scale;
}

/// `values` as one for each row and unit: there is a single one where the spec is per tensor.
template <class T>
std::vector<T> one_per_unit(const std::vector<T>& values, Index wanted) {
  if (std::ssize(values) == 1) return std::vector<T>(static_cast<std::size_t>(wanted), values[0]);
  return values;
}

}  // namespace

ServedPanels::ServedPanels(const Spec& spec, Index rows, Index cols)
    : spec_(held_spec(spec)), shape_(shape_of(spec, rows, cols)) {
  validate(shape_, "integer weights");
  check(grid_of(spec).levels.empty(), "integer weights", "the levels of the ", name_of(spec.grid),
        " grid are no integers");
  if (is_narrow()) {
    narrow_ = narrow_of(spec_, shape_);
    memory_ = bytes_of(narrow_.bytes());
    narrow_.memory = reinterpret_cast<std::uint8_t*>(memory_.flat().data());
  } else {
    memory_ = bytes_of(packed_bytes(shape_));
    wide_ = lay_out(shape_, std::as_writable_bytes(memory_.flat()));
  }
}

ServedPanels::ServedPanels(const QTensor& q) : ServedPanels(q.spec, q.rows, q.cols) {
  set_rows(0, q);
}

void ServedPanels::set_rows(Index first_row, const QTensor& part) {
  check(held_spec(part.spec) == spec_ && part.cols == shape_.K && first_row >= 0 &&
            first_row % kRowStep == 0 && first_row + part.rows <= shape_.N,
        "integer weights", name_of(part.spec), " [", part.rows, ", ", part.cols, "] from row ",
        first_row, " on does not fit ", name_of(spec_), " [", shape_.N, ", ", shape_.K, "]");
  require_whole(part, "integer weights");
  const Index units = shape_.units(), first_panel = first_row / kRowStep;
  const std::vector<real> real_scales = one_per_unit(part.at.scales, part.rows * units);
  const std::vector<std::int8_t> zeros = shape_.zero_points
                                             ? one_per_unit(part.at.zero_points, part.rows * units)
                                             : std::vector<std::int8_t>{};
  if (!is_narrow()) {
    // Panels lie one behind the other: the rows are a matrix of their own.
    PackedWeights piece = wide_;
    piece.shape.N = part.rows;
    const Index tables = first_panel * units * kRowStep;
    piece.panels += first_row * shape_.row_codes();
    piece.scales += tables;
    piece.sums += tables;
    if (piece.zero_points) piece.zero_points += tables;
    const std::vector<float> scales(real_scales.begin(), real_scales.end());
    pack(piece, part.codes, scales, zeros);
    return;
  }
  const std::vector<std::uint8_t> scales = pack_scales(real_scales, spec_.scale);
  const Index scale_row = units * narrow_.scale_bytes();
  parallel_for(quotient_up(part.rows, kRowStep), [&](Index i) {
    const Index row = i * kRowStep, rows = std::min(kRowStep, part.rows - row);
    const auto of = [&](const auto& v, Index per_row) {
      return std::span(v).subspan(static_cast<std::size_t>(row * per_row),
                                  static_cast<std::size_t>(rows * per_row));
    };
    pack_narrow_panel(narrow_, first_panel + i, of(part.codes, shape_.K), of(scales, scale_row),
                      of(zeros, shape_.zero_points ? units : 0));
  });
}

void ServedPanels::multiply(std::span<float> out, const ActivationCodes& x,
                            std::span<const float> bias, Index M) const {
  if (is_narrow()) return narrow_linear(out, x, narrow_, bias, M);
  integer_linear(out, x, wide_, bias, M);
}

void ServedPanels::dequantize_row(std::span<float> out, Index row) const {
  if (is_narrow()) return dequantize_narrow_row(out, narrow_, row);
  check(row >= 0 && row < shape_.N, "integer weights", "row ", row, " of ", shape_.N);
  require_extent("integer weights", shape_.K, out);
  const Index lane = row % kRowStep, unit = shape_.unit();
  const std::int8_t* const panel = wide_.panels + (row - lane) * shape_.row_codes();
  for (Index u = 0; u < shape_.units(); ++u) {
    const Index at = (row / kRowStep * shape_.units() + u) * kRowStep + lane;
    const float scale = wide_.scales[at];
    const int zero = wide_.zero_points ? wide_.zero_points[at] : 0;
    constexpr Index kPiece = 512;
    std::int8_t piece[kPiece];
    for (Index k = 0; k < unit; k += kPiece) {
      const Index n = std::min(kPiece, unit - k), from = u * shape_.padded_unit() + k;
      for (Index i = 0; i < n; i += 4)
        std::memcpy(piece + i, panel + (from + i) * kRowStep + lane * 4, 4);
      to_weights(out.data() + u * unit + k, piece, n, zero, scale);
    }
  }
}

Index ServedPanels::bytes() const { return static_cast<Index>(memory_.size() * sizeof(real)); }

Index ServedPanels::bytes(const Spec& spec, Index rows, Index cols) {
  const IntegerShape shape = shape_of(spec, rows, cols);
  const Index n = shape.bits < 8 ? narrow_of(held_spec(spec), shape).bytes() : packed_bytes(shape);
  return round_up(n, kReal);
}

}  // namespace notch::quant
