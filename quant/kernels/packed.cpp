#include "quant/kernels/packed.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "autograd/base/arithmetic.h"
#include "autograd/base/extents.h"
#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "quant/kernels/packed_isa.h"

namespace notch::quant {
namespace {

Index lane_codes(Index cols) { return quotient_up(cols, kPackedLanes); }

// Inlined so that they are compiled for the instruction set of the clone that calls them.
#define NOTCH_INLINE __attribute__((always_inline)) inline

/// The 16 codes u of columns 16 j … 16 j + 15.
NOTCH_INLINE void codes_at(std::uint32_t (&u)[kPackedLanes], const std::uint8_t* row, Index j,
                           int bits) {
  const Index bit = j * bits, word = bit / 32;
  const auto shift = static_cast<unsigned>(bit % 32);
  const std::uint32_t mask = (1u << bits) - 1;
  std::uint32_t low[kPackedLanes], high[kPackedLanes];
  std::memcpy(low, row + word * 64, 64);
  const bool split = shift + static_cast<unsigned>(bits) > 32;
  std::memcpy(high, row + (split ? word + 1 : word) * 64, 64);
  const unsigned rest = (32 - shift) & 31;
  for (Index l = 0; l < kPackedLanes; ++l)
    u[l] = ((low[l] >> shift) | (split ? high[l] << rest : 0u)) & mask;
}

/// Levels of the same columns: q - z, as floats, or those of a codebook.
NOTCH_INLINE void values_at(float (&v)[kPackedLanes], const PackedRows& w, const std::uint8_t* row,
                            Index j, int zero, const float* levels) {
  if (w.bits == 8) {
    std::int8_t q[kPackedLanes];
    std::memcpy(q, row + j * kPackedLanes, sizeof q);
    if (levels) {
      for (Index l = 0; l < kPackedLanes; ++l) v[l] = levels[q[l] - w.qmin];
      return;
    }
    for (Index l = 0; l < kPackedLanes; ++l) v[l] = static_cast<float>(q[l] - zero);
    return;
  }
  std::uint32_t u[kPackedLanes];
  codes_at(u, row, j, w.bits);
  if (levels) {
    for (Index l = 0; l < kPackedLanes; ++l) v[l] = levels[u[l]];
    return;
  }
  const int offset = w.qmin - zero;
  for (Index l = 0; l < kPackedLanes; ++l)
    v[l] = static_cast<float>(static_cast<std::int32_t>(u[l]) + offset);
}

Index units_per_row(const PackedRows& w) { return w.cols / w.unit; }

/// Finite halves as floats. Moved to a float's place, the exponent of a half is 112 too small.
NOTCH_CLONES void from_halves(float* out, const std::byte* halves, Index n) {
  for (Index i = 0; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, halves + 2 * i, sizeof half);
    const std::uint32_t h = half;
    const float magnitude = std::bit_cast<float>((h & 0x7fffu) << 13) * 0x1p112f;
    out[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | (h & 0x8000u) << 16);
  }
}

int zero_of(const PackedRows& w, Index row, Index unit) {
  return w.zeros ? w.zeros[row * units_per_row(w) + unit] : 0;
}

/// Columns 16 j … of one row as the weights that are multiplied. A unit may end inside them.
void weights_at(float (&v)[kPackedLanes], const PackedRows& w, const std::uint8_t* codes, Index row,
                Index j) {
  const Index units = units_per_row(w), first = j * kPackedLanes / w.unit;
  if (units == 1) return values_at(v, w, codes, j, zero_of(w, row, 0), unit_levels(w, row, 0));
  for (Index unit = first; unit < units && unit * w.unit < (j + 1) * kPackedLanes; ++unit) {
    float part[kPackedLanes], scale = 0;
    unit_scales(&scale, w, row, unit, 1);
    values_at(part, w, codes, j, zero_of(w, row, unit), unit_levels(w, row, unit));
    for (Index l = 0; l < kPackedLanes; ++l)
      if (const Index k = j * kPackedLanes + l; k >= unit * w.unit && k < (unit + 1) * w.unit)
        v[l] = part[l] * scale;
  }
}

}  // namespace

Index repacked_row_bytes(Index cols, int bits) {
  const Index lane_bytes = bits == 8 ? lane_codes(cols) : (lane_codes(cols) * bits + 31) / 32 * 4;
  return (lane_bytes * kPackedLanes + 63) / 64 * 64;
}

void repack_row(std::span<std::uint8_t> out, std::span<const std::int8_t> codes, int bits,
                int qmin) {
  check(bits >= 1 && bits <= 8, "packed rows", "codes of ", bits, " bits; expected 1 to 8");
  require_extent("packed rows", repacked_row_bytes(std::ssize(codes), bits), out);
  std::ranges::fill(out, std::uint8_t{0});
  if (bits == 8) {
    std::memcpy(out.data(), codes.data(), codes.size());
    return;
  }
  for (Index k = 0; k < std::ssize(codes); ++k) {
    const Index lane = k % kPackedLanes, bit = k / kPackedLanes * bits;
    const std::uint64_t u = static_cast<std::uint64_t>(codes[static_cast<std::size_t>(k)] - qmin)
                            << (bit % 32);
    for (Index d = 0; d < 2; ++d) {
      const auto part = static_cast<std::uint32_t>(u >> (32 * d));
      if (part == 0) continue;  // the second word may lie beyond the row
      std::uint8_t* at = out.data() + ((bit / 32 + d) * kPackedLanes + lane) * 4;
      std::uint32_t word = 0;
      std::memcpy(&word, at, sizeof word);
      word |= part;
      std::memcpy(at, &word, sizeof word);
    }
  }
}

void unit_scales(float* out, const PackedRows& w, Index row, Index first, Index n) {
  const Index at = row * units_per_row(w) + first;
  if (w.scale == StoredScale::f32) {
    std::memcpy(out, w.scales + at * 4, static_cast<std::size_t>(n) * 4);
    return;
  }
  if (w.scale == StoredScale::f16) return from_halves(out, w.scales + at * 2, n);
  for (Index i = 0; i < n; ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, w.scales + (at + i) * 2, sizeof half);
    out[i] = from_bf16(half);
  }
}

namespace {

/// Vectors of 16 columns that share a scale are what the fast variants know.
bool has_whole_vectors(const PackedRows& w) {
  const bool large_codebook = w.levels && w.bits == 8;  // the fast variants look up 16 levels
  return (w.unit == w.cols || w.unit % kPackedLanes == 0) && !large_codebook;
}

NOTCH_CLONES void dequantize_portable(std::span<float> out, const PackedRows& w, Index row) {
  const std::uint8_t* codes = w.codes + row * repacked_row_bytes(w.cols, w.bits);
  const auto put = [&](Index j, const float(&v)[kPackedLanes]) {
    const Index k = j * kPackedLanes, n = std::min(kPackedLanes, w.cols - k);
    std::memcpy(out.data() + k, v, static_cast<std::size_t>(n) * sizeof(float));
  };
  float v[kPackedLanes] = {};
  if (units_per_row(w) > 1 && w.unit % kPackedLanes != 0) {  // a vector may hold several units
    for (Index j = 0; j < lane_codes(w.cols); ++j) {
      weights_at(v, w, codes, row, j);
      put(j, v);
    }
    return;
  }
  for (Index unit = 0; unit < units_per_row(w); ++unit) {
    float scale = 0;
    unit_scales(&scale, w, row, unit, 1);
    const int zero = zero_of(w, row, unit);
    for (Index j = unit * w.unit / kPackedLanes; j * kPackedLanes < (unit + 1) * w.unit; ++j) {
      values_at(v, w, codes, j, zero, unit_levels(w, row, unit));
      for (Index l = 0; l < kPackedLanes; ++l) v[l] *= scale;
      put(j, v);
    }
  }
}

void require_rows(const PackedRows& w, Index begin, Index end) {
  check(w.codes && w.scales && w.cols > 0 && w.unit > 0 && w.cols % w.unit == 0 && w.bits >= 1 &&
            w.bits <= 8 && begin >= 0 && begin <= end && end <= w.rows,
        "packed rows", "rows ", begin, " to ", end, " of [", w.rows, ", ", w.cols, "] in units of ",
        w.unit, " and ", w.bits, " bits");
}

}  // namespace

void dequantize_row(std::span<float> out, const PackedRows& w, Index row, Isa isa) {
  check(row >= 0 && row < w.rows, "packed rows", "row ", row, " of ", w.rows);
  require_rows(w, row, row + 1);
  require_extent("packed rows", w.cols, out);
#if defined(__x86_64__)
  if (has_whole_vectors(w)) {
    if (isa == Isa::avx512) return packed_unpack_avx512(out.data(), w, row);
    if (isa == Isa::avx2) return packed_unpack_avx2(out.data(), w, row);
  }
#else
  static_cast<void>(isa);
#endif
  dequantize_portable(out, w, row);
}

void packed_rows_portable(const PackedCall& call, Index begin, Index end) {
  const PackedRows& w = *call.w;
  const bool groups = units_per_row(w) > 1;
  for (Index n = begin; n < end; ++n) {
    const std::uint8_t* codes = w.codes + n * repacked_row_bytes(w.cols, w.bits);
    float scale = 1;
    if (!groups) unit_scales(&scale, w, n, 0, 1);
    for (Index m = 0; m < call.M; ++m) {
      const float* x = call.x + m * call.ld_x;
      float lanes[kPackedLanes] = {};
      for (Index j = 0; j < lane_codes(w.cols); ++j) {
        float v[kPackedLanes] = {};
        weights_at(v, w, codes, n, j);
        for (Index l = 0; l < kPackedLanes; ++l)
          lanes[l] = std::fma(v[l], x[j * kPackedLanes + l], lanes[l]);
      }
      for (Index width = kPackedLanes / 2; width > 0; width /= 2)
        for (Index l = 0; l < width; ++l) lanes[l] += lanes[l + width];
      float y = lanes[0];
      if (!groups) y *= scale;
      call.out[m * call.ld_out + n] = y + (call.bias ? call.bias[n] : 0.0f);
    }
  }
}

void packed_gemv(float* out, Index ld_out, const float* x, Index ld_x, Index M, const PackedRows& w,
                 const float* bias, Index begin, Index end, Isa isa) {
  require_rows(w, begin, end);
  check((M == 0 || begin == end) || (M > 0 && out && x && ld_x >= w.cols), "packed rows", M,
        " rows of x lie ", ld_x, " apart");
  const PackedCall call{out, ld_out, x, ld_x, M, &w, bias};
#if defined(__x86_64__)
  if (has_whole_vectors(w)) {
    if (isa == Isa::avx512) return packed_rows_avx512(call, begin, end);
    if (isa == Isa::avx2) return packed_rows_avx2(call, begin, end);
  }
#else
  static_cast<void>(isa);
#endif
  packed_rows_portable(call, begin, end);
}

}  // namespace notch::quant
