// The layout of packed weights (integer_linear.h): sizes, packing of codes, and rounding straight
// into panels.
#include <algorithm>
#include <cstring>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"
#include "quant/kernels/integer_limits.h"
#include "quant/kernels/integer_linear.h"
#include "quant/kernels/round_blocks.h"

namespace notch::quant {
namespace {

constexpr Index kPanel = IntegerShape::kPanel;
constexpr Index kDot = 4;       // inputs that one lane of a dot-product instruction adds
constexpr Index kPiece = 1024;  // codes rounded at a time: they stay in the first-level cache
constexpr Index kAlign = 64;

struct Sizes {
  Index panels, table;
};
Sizes sizes_of(const IntegerShape& s) {
  return {s.panels() * s.row_codes() * kPanel, s.panels() * s.units() * kPanel * 4};
}

/// Σ codes. A separate function for its clones: the loop must be a plain one to be vectorised.
NOTCH_CLONES std::int32_t sum_of(const std::int8_t* codes, Index n) {
  std::int32_t sum = 0;
  for (Index i = 0; i < n; ++i) sum += codes[i];
  return sum;
}

/// codes = round.h's codes of w for one scale; dequantized, unless null, its fake_quant. Returns
/// the sum of the codes.
NOTCH_CLONES std::int32_t round_piece(std::int8_t* codes, float* dequantized, const float* w,
                                      Index n, float scale, int z, int qmin, int qmax) {
  return static_cast<std::int32_t>(n) * z +
         round_blocks(codes, dequantized, w, n, scale, qmin - z, qmax - z, z);
}

/// codes[0, n) into one lane of a panel, four by four; what is missing in the last four is zero.
void scatter(std::int8_t* to, const std::int8_t* codes, Index n) {
  const Index whole = n / kDot * kDot;
  for (Index i = 0; i < whole; i += kDot) std::memcpy(to + i * kPanel, codes + i, kDot);
  if (whole < n) {
    std::int8_t last[kDot] = {};
    std::copy(codes + whole, codes + n, last);
    std::memcpy(to + whole * kPanel, last, kDot);
  }
}

struct Piece {
  const std::int8_t* codes;
  std::int32_t sum;
};

/// Fills panel `panel` unit by unit: codes_of(from, n, unit, buffer) gives the n codes that start
/// at element `from` of the row-major matrix, in a place of their own or in the buffer.
template <class CodesOf>
void fill_panel(const PackedWeights& packed, Index panel, std::span<const float> scales,
                std::span<const std::int8_t> zero_points, const CodesOf& codes_of) {
  const IntegerShape& s = packed.shape;
  const Index units = s.units(), unit = s.unit(), padded = s.padded_unit();
  const Index first = panel * kPanel, rows = std::min(kPanel, s.N - first);
  std::int8_t* const codes = packed.panels + panel * s.row_codes() * kPanel;
  if (rows < kPanel || round_up(unit, kDot) < padded)
    std::memset(codes, 0, static_cast<std::size_t>(s.row_codes() * kPanel));
  for (Index lane = 0; lane < kPanel; ++lane) {
    for (Index u = 0; u < units; ++u) {
      const Index row_unit = (first + lane) * units + u, slot = (panel * units + u) * kPanel + lane;
      std::int32_t sum = 0, zero = 0;
      if (lane < rows) {
        std::int8_t buffer[kPiece];
        for (Index begin = 0; begin < unit; begin += kPiece) {
          const Index n = std::min(kPiece, unit - begin);
          const Piece piece = codes_of(row_unit * unit + begin, n, row_unit, buffer);
          scatter(codes + (u * padded + begin) * kPanel + lane * kDot, piece.codes, n);
          sum += piece.sum;
        }
        if (s.zero_points) zero = zero_points[static_cast<std::size_t>(row_unit)];
      }
      packed.scales[slot] = lane < rows ? scales[static_cast<std::size_t>(row_unit)] : 0.0f;
      packed.sums[slot] = sum - static_cast<std::int32_t>(unit) * zero;
      if (s.zero_points) packed.zero_points[slot] = zero;
    }
  }
}

void check_weights(const PackedWeights& packed, Index weights, Index scales, Index zero_points) {
  const IntegerShape& s = packed.shape;
  const Index units = s.N * s.units();
  check(weights == s.N * s.K && scales == units && zero_points == (s.zero_points ? units : 0),
        "integer weights", "got ", weights, " weights, ", scales, " scales and ", zero_points,
        " zero points for [", s.N, ", ", s.K, "] with ", units, " units");
}

}  // namespace

void validate(const IntegerShape& s, const char* where) {
  check(s.N >= 1 && s.K >= 1, where, "a matrix of [", s.N, ", ", s.K, "] has no weights");
  check(s.group >= 0 && (s.group == 0 || s.K % s.group == 0), where, "groups of ", s.group,
        " do not divide ", s.K, " inputs");
  check(s.K <= kMostInputs, where, s.K, " inputs; a sum in int32 is exact up to ", kMostInputs);
  check(!s.zero_points || s.unit() <= kMostWithZeroPoints, where, s.unit(),
        " inputs per zero point; a sum in int32 is exact up to ", kMostWithZeroPoints);
}

std::int64_t packed_bytes(const IntegerShape& shape) {
  const auto [panels, table] = sizes_of(shape);
  return round_up(panels, kAlign) + (shape.zero_points ? 3 : 2) * table;
}

PackedWeights lay_out(const IntegerShape& shape, std::span<std::byte> memory) {
  validate(shape, "integer weights");
  const auto [panels, table] = sizes_of(shape);
  check(std::ssize(memory) >= packed_bytes(shape), "integer weights", memory.size(),
        " bytes; needed are ", packed_bytes(shape));
  std::byte* const tables = memory.data() + round_up(panels, kAlign);
  return {.shape = shape,
          .panels = reinterpret_cast<std::int8_t*>(memory.data()),
          .scales = reinterpret_cast<float*>(tables),
          .sums = reinterpret_cast<std::int32_t*>(tables + table),
          .zero_points =
              shape.zero_points ? reinterpret_cast<std::int32_t*>(tables + 2 * table) : nullptr};
}

void pack_panel(const PackedWeights& packed, std::int64_t panel, std::span<const std::int8_t> codes,
                std::span<const float> scales, std::span<const std::int8_t> zero_points) {
  check_weights(packed, std::ssize(codes), std::ssize(scales), std::ssize(zero_points));
  fill_panel(packed, panel, scales, zero_points, [&](Index from, Index n, Index, std::int8_t*) {
    const std::int8_t* const in = codes.data() + from;
    return Piece{in, sum_of(in, n)};
  });
}

void pack(const PackedWeights& packed, std::span<const std::int8_t> codes,
          std::span<const float> scales, std::span<const std::int8_t> zero_points) {
  parallel_for(packed.shape.panels(),
               [&](Index panel) { pack_panel(packed, panel, codes, scales, zero_points); });
}

void quantize_panel(const PackedWeights& packed, std::int64_t panel, std::span<float> dequantized,
                    std::span<const float> w, std::span<const float> scales,
                    std::span<const std::int8_t> zero_points, const Grid& grid) {
  check_weights(packed, std::ssize(w), std::ssize(scales), std::ssize(zero_points));
  check(dequantized.empty() || dequantized.size() == w.size(), "integer weights",
        dequantized.size(), " dequantized values for ", w.size(), " weights");
  fill_panel(packed, panel, scales, zero_points,
             [&](Index from, Index n, Index row_unit, std::int8_t* buffer) {
               const auto at = static_cast<std::size_t>(row_unit);
               const int z = packed.shape.zero_points ? zero_points[at] : 0;
               float* const values = dequantized.empty() ? nullptr : dequantized.data() + from;
               return Piece{buffer, round_piece(buffer, values, w.data() + from, n, scales[at], z,
                                                grid.qmin, grid.qmax)};
             });
}

}  // namespace notch::quant
