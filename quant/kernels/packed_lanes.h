// The bodies of packed_gemv and dequantize_row for instruction sets with vectors, compiled by each
// variant's file for its target: one text, so that the variants cannot drift apart. Before the
// include that file defines
//   NOTCH_ISA, NOTCH_ISA_FUNCTION     the target attribute, with and without always_inline
//   Floats, Words                     16 floats, 16 unsigned words, and the functions used below
//   Small<bits, scaled>, Large<…>     decoders: code words to floats, for 2 to 5 and 6 to 7 bits
//   Listed<scaled>                    likewise for a codebook
//   Bytes<scaled, shifted>            likewise for 8 bits
//   kUnrolls                          whether loops over codes are written out
// A decoder is set to a unit's scale and offset, and the codebook if there is one, and then turns
// codes into weights: u + offset, or level u, times the scale if `scaled`. See packed.h for layout and numerics.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autograd/base/index.h"
#include "quant/kernels/packed_isa.h"

namespace notch::quant {
namespace {

/// Codes per lane after which the pattern of bits repeats, and the words that hold them.
template <int kBits>
inline constexpr int kPeriod = kBits == 4       ? 8
                               : kBits % 2 == 0 ? 16
                                                : 32;
template <int kBits>
inline constexpr int kPeriodWords = kBits* kPeriod<kBits> / 32;

/// Code c of the period that begins at `row`: in the low bits, above them anything.
template <int kBits>
NOTCH_ISA Words code_at(const std::uint8_t* row, int c) {
  const int bit = c * kBits, word = bit / 32, shift = bit % 32;
  Words v = shift_right(load_words(row + 64 * word), shift);
  if (shift + kBits > 32) v = v | shift_left(load_words(row + 64 * (word + 1)), 32 - shift);
  return v;
}

/// The scales and zero points of R rows, a few hundred units at a time.
template <int R>
struct Units {
  alignas(64) float scales[R][kUnitsAtOnce];
  const std::int8_t* zeros[R];
};

template <int R>
void load_units(Units<R>& units, const PackedRows& w, Index row, Index first) {
  const Index per_row = w.cols / w.unit, n = std::min(kUnitsAtOnce, per_row - first);
  for (int r = 0; r < R; ++r) {
    unit_scales(units.scales[r], w, row + r, first, n);
    units.zeros[r] = w.zeros ? w.zeros + (row + r) * per_row + first : nullptr;
  }
}

/// R rows of w times M rows of x. With a scaled decoder each unit's scale is in its weights;
/// otherwise there is one unit, whose scale is applied to the sum.
template <class Decoder, int R, int M>
struct Dots {
  const PackedCall& call;
  Index row;
  Units<R> units;  // not initialised: a few kilobytes per call
  Decoder decoders[R];
  Floats sum[R][M];
  Index unit = 0, unit_end = 0;  // columns before unit_end belong to the decoders' unit

  NOTCH_ISA Dots(const PackedCall& c, Index first_row) : call(c), row(first_row) {}

  NOTCH_ISA void next_unit() {
    const PackedRows& w = *call.w;
    const Index at = unit % kUnitsAtOnce;
    if (at == 0) load_units(units, w, row, unit);
    for (int r = 0; r < R; ++r)
      decoders[r].set(
          units.scales[r][at],
          (Decoder::kBits == 8 ? 0 : w.qmin) - (units.zeros[r] ? units.zeros[r][at] : 0),
          unit_levels(w, row + r, unit));
    ++unit;
    unit_end += w.unit;
  }

  /// One vector of columns from k on.
  NOTCH_ISA void add(const std::uint8_t* const (&codes)[R], int c, Index k) {
    if (Decoder::kScaled && k >= unit_end) next_unit();
    Floats x[M];
    for (int m = 0; m < M; ++m) x[m] = load_floats(call.x + m * call.ld_x + k);
    for (int r = 0; r < R; ++r) {
      Floats v;
      if constexpr (Decoder::kBits == 8)
        v = decoders[r].weights(codes[r] + k);
      else
        v = decoders[r].weights(code_at<Decoder::kBits>(codes[r], c));
      for (int m = 0; m < M; ++m) sum[r][m] = multiply_add(v, x[m], sum[r][m]);
    }
  }
};

/// Where the next rows are read next. They are one run of memory, but read side by side, and the
/// processor does not foresee where each begins.
template <int R>
NOTCH_ISA void prefetch_after(const std::uint8_t* const (&codes)[R], Index at, Index row_bytes) {
  for (int r = 0; r < R; ++r) prefetch(codes[r] + R * row_bytes + at);
}

template <class Decoder, int R, int M>
NOTCH_ISA void dots(const PackedCall& call, Index row) {
  constexpr int kBits = Decoder::kBits;
  const PackedRows& w = *call.w;
  Dots<Decoder, R, M> d(call, row);
  d.next_unit();
  const Index row_bytes = repacked_row_bytes(w.cols, w.bits);
  const std::uint8_t* codes[R];
  for (int r = 0; r < R; ++r) codes[r] = w.codes + (row + r) * row_bytes;
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) d.sum[r][m] = zero_floats();

  Index k = 0;
  if constexpr (kBits == 8) {
    for (; k < w.cols; k += kPackedLanes) {
      if (k % 64 == 0) prefetch_after(codes, k, row_bytes);
      d.add(codes, 0, k);
    }
  } else {
    constexpr Index kColumns = kPeriod<kBits> * kPackedLanes;
    for (; k + kColumns <= w.cols; k += kColumns) {
      for (int i = 0; i < kPeriodWords<kBits>; ++i) prefetch_after(codes, 64 * i, row_bytes);
      if constexpr (kUnrolls && kBits % 2 == 0 && R > 1) {  // shifts by constants
#pragma GCC unroll 16
        for (int c = 0; c < kPeriod<kBits>; ++c) d.add(codes, c, k + c * kPackedLanes);
      } else {
#pragma GCC unroll 1
        for (int c = 0; c < kPeriod<kBits>; ++c) d.add(codes, c, k + c * kPackedLanes);
      }
      for (int r = 0; r < R; ++r) codes[r] += 64 * kPeriodWords<kBits>;
    }
#pragma GCC unroll 1
    for (int c = 0; k < w.cols; ++c, k += kPackedLanes) d.add(codes, c, k);
  }
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) {
      float y = fold(d.sum[r][m]);
      if constexpr (!Decoder::kScaled) y *= d.units.scales[r][0];
      call.out[m * call.ld_out + row + r] = y + (call.bias ? call.bias[row + r] : 0.0f);
    }
}

/// R rows of w with all rows of x, R at a time.
template <class Decoder, int R>
NOTCH_ISA void rows_of_w(PackedCall call, Index row) {
  while (call.M > 0) {
    const Index rows = call.M >= R ? R : 1;
    if (rows == R)
      dots<Decoder, R, R>(call, row);
    else
      dots<Decoder, R, 1>(call, row);
    call.x += rows * call.ld_x;
    call.out += rows * call.ld_out;
    call.M -= rows;
  }
}

template <class Decoder>
NOTCH_ISA_FUNCTION void tile(const PackedCall& call, Index begin, Index end) {
  constexpr int kRows = 4;  // independent sums, to hide the latency of the additions
  Index row = begin;
  for (; row + kRows <= end; row += kRows) rows_of_w<Decoder, kRows>(call, row);
  for (; row < end; ++row) rows_of_w<Decoder, 1>(call, row);
}

/// The weights of one row; a decoder that scales.
template <class Decoder>
NOTCH_ISA_FUNCTION void unpack(float* out, const PackedRows& w, Index row) {
  constexpr int kBits = Decoder::kBits;
  const std::uint8_t* codes = w.codes + row * repacked_row_bytes(w.cols, w.bits);
  Units<1> units;
  Index k = 0;
  for (Index unit = 0; unit < w.cols / w.unit; ++unit) {
    const Index at = unit % kUnitsAtOnce;
    if (at == 0) load_units(units, w, row, unit);
    Decoder decoder;
    decoder.set(units.scales[0][at],
                (kBits == 8 ? 0 : w.qmin) - (units.zeros[0] ? units.zeros[0][at] : 0),
                unit_levels(w, row, unit));
    for (const Index end = k + w.unit; k < end; k += kPackedLanes) {
      Floats v;
      if constexpr (kBits == 8) {
        v = decoder.weights(codes + k);
      } else {
        const Index j = k / kPackedLanes;
        v = decoder.weights(code_at<kBits>(codes + j / kPeriod<kBits> * 64 * kPeriodWords<kBits>,
                                           static_cast<int>(j % kPeriod<kBits>)));
      }
      if (k + kPackedLanes <= w.cols) {
        store_floats(out + k, v);
      } else {
        float last[kPackedLanes];
        store_floats(last, v);
        std::copy_n(last, w.cols - k, out + k);
      }
    }
  }
}

void packed_unpack(float* out, const PackedRows& w, Index row) {
  if (w.levels) return unpack<Listed<true>>(out, w, row);
  switch (w.bits) {
    case 2:
      return unpack<Small<2, true>>(out, w, row);
    case 3:
      return unpack<Small<3, true>>(out, w, row);
    case 4:
      return unpack<Small<4, true>>(out, w, row);
    case 5:
      return unpack<Small<5, true>>(out, w, row);
    case 6:
      return unpack<Large<6, true>>(out, w, row);
    case 7:
      return unpack<Large<7, true>>(out, w, row);
    default:
      if (w.zeros) return unpack<Bytes<true, true>>(out, w, row);
      return unpack<Bytes<true, false>>(out, w, row);
  }
}

template <bool kScaled>
void packed_tile(const PackedCall& call, Index begin, Index end) {
  if (call.w->levels) return tile<Listed<kScaled>>(call, begin, end);
  switch (call.w->bits) {
    case 2:
      return tile<Small<2, kScaled>>(call, begin, end);
    case 3:
      return tile<Small<3, kScaled>>(call, begin, end);
    case 4:
      return tile<Small<4, kScaled>>(call, begin, end);
    case 5:
      return tile<Small<5, kScaled>>(call, begin, end);
    case 6:
      return tile<Large<6, kScaled>>(call, begin, end);
    case 7:
      return tile<Large<7, kScaled>>(call, begin, end);
    default:
      if (call.w->zeros) return tile<Bytes<kScaled, true>>(call, begin, end);
      return tile<Bytes<kScaled, false>>(call, begin, end);
  }
}

void packed_tile(const PackedCall& call, Index begin, Index end) {
  if (call.w->unit == call.w->cols) return packed_tile<false>(call, begin, end);
  packed_tile<true>(call, begin, end);
}

}  // namespace
}  // namespace notch::quant
