// Integer products with AVX-512 VNNI: vpdpbusd adds four products u8 · s8 in each of 16 lanes,
// exactly.
//
// A tile of R tokens and P panels stays in registers over the whole unit. Two instructions per
// cycle with a latency of five need ten sums at least; 12 x 2 leaves room for the operands, and
// with groups, whose float sums stay in registers too, 6 x 2.
#include "quant/kernels/integer_tile.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "autograd/base/index.h"
#include "quant/kernels/prefetch.h"

#define NOTCH_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,prfchw")))

namespace notch::quant {
namespace {

constexpr Index kAhead = 2048;  // bytes of weights

template <int R, int P, bool kGroups>
NOTCH_AVX512_VNNI void tile(const IntegerProduct& p, Index row, Index panel) {
  const IntegerShape& s = p.w.shape;
  const Index units = s.units(), padded = s.padded_unit(), stride = s.row_codes();
  const std::uint8_t* x = p.codes + row * stride;
  const std::int8_t* w = p.w.panels + panel * stride * kPanel;
  const Index panel_codes = stride * kPanel;
  bool one_zero_point = true;
  for (int r = 1; r < R; ++r) one_zero_point &= p.zero_points[row + r] == p.zero_points[row];
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < P; ++q)
      __builtin_prefetch(p.out + (row + r) * s.N + (panel + q) * kPanel, 1);
  Float16 sum[R][P] = {};
  for (Index u = 0; u < units; ++u) {
    Uint16 acc[R][P];
    for (int q = 0; q < P; ++q) {
      UnitTables tables;
      load_unit(tables, p.w, panel + q, u);
      start_unit(acc[0][q], tables, p.zero_points[row]);
      for (int r = 1; r < R; ++r) {
        acc[r][q] = acc[0][q];
        if (!one_zero_point) start_unit(acc[r][q], tables, p.zero_points[row + r]);
      }
    }
    for (Index k = 0; k < padded; k += 4, x += 4, w += 4 * kPanel) {
      __m512i b[P];
      for (int q = 0; q < P; ++q) {
        b[q] = _mm512_loadu_si512(w + q * panel_codes);
        prefetch(w + q * panel_codes + kAhead);
      }
      for (int r = 0; r < R; ++r) {
        std::int32_t four;
        std::memcpy(&four, x + r * stride, sizeof four);
        const __m512i a = _mm512_set1_epi32(four);
        for (int q = 0; q < P; ++q)
          acc[r][q] = (Uint16)_mm512_dpbusd_epi32((__m512i)acc[r][q], a, b[q]);
      }
    }
    for (int q = 0; q < P; ++q) {
      UnitTables tables;
      load_unit(tables, p.w, panel + q, u);
      for (int r = 0; r < R; ++r)
        add_unit(sum[r][q], acc[r][q], tables, codes_sum_of(p, row + r, u), kGroups);
    }
  }
  for (int q = 0; q < P; ++q) {
    PanelOutput output;
    load_output(output, p, panel + q);
    for (int r = 0; r < R; ++r) finish(output, sum[r][q], row + r, p.scales[row + r]);
  }
}

/// R tokens times panels [first, last), four or two at a time where the sums fit the registers: few
/// tokens wait for memory, which gives more when it is read in four places at once.
template <int R, bool kGroups>
void rows_of(const IntegerProduct& p, Index row, Index first, Index last) {
  constexpr bool kPairs = !kGroups || R <= 6, kFours = R <= (kGroups ? 3 : 6);
  if constexpr (kFours)
    for (; first + kTogether <= last; first += kTogether)
      tile<R, kTogether, kGroups>(p, row, first);
  if constexpr (kPairs)
    for (; first + 2 <= last; first += 2) tile<R, 2, kGroups>(p, row, first);
  for (; first < last; ++first) tile<R, 1, kGroups>(p, row, first);
}

/// Few tokens are multiplied together, so that the weights pass once: then memory sets the pace.
template <bool kGroups>
void block(const IntegerProduct& p, Index row, Index rows, Index first, Index last) {
  constexpr int kMost = kGroups ? 6 : 12;
  using Rows = void (*)(const IntegerProduct& p, Index row, Index first, Index last);
  static constexpr Rows kFew[] = {rows_of<1, kGroups>, rows_of<2, kGroups>, rows_of<3, kGroups>,
                                  rows_of<4, kGroups>, rows_of<5, kGroups>, rows_of<6, kGroups>,
                                  rows_of<7, kGroups>, rows_of<8, kGroups>};
  while (rows > 8) {
    const Index step = rows >= kMost ? kMost : 8;
    if (step == kMost)
      rows_of<kMost, kGroups>(p, row, first, last);
    else
      rows_of<8, kGroups>(p, row, first, last);
    row += step, rows -= step;
  }
  if (rows > 0) kFew[rows - 1](p, row, first, last);
}

}  // namespace

void integer_block_avx512_vnni(const IntegerProduct& p, Index row, Index rows, Index first,
                               Index last) {
  if (p.w.shape.group > 0) return block<true>(p, row, rows, first, last);
  block<false>(p, row, rows, first, last);
}

}  // namespace notch::quant

#endif
