// Integer products on 256-bit vectors: AVX-VNNI's vpdpbusd, or plain AVX2.
//
// AVX2's own u8 · s8 instruction (vpmaddubsw) saturates: 255 · 127 · 2 does not fit 16 bits. So
// both factors are widened to 16 bits first, which vpmaddwd multiplies and adds in 32 bits exactly.
#include "quant/kernels/integer_tile.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "autograd/base/index.h"

#define NOTCH_AVX2 __attribute__((target("avx2")))
#define NOTCH_AVX_VNNI __attribute__((target("avx2,avxvnni")))

namespace notch::quant {
namespace {

/// Σ qx qw of one unit for R tokens with 16 channels each, into acc.
template <int R>
NOTCH_AVX_VNNI void dot_avx_vnni(Uint16 (&acc)[R], const std::uint8_t* x, Index stride,
                                 const std::int8_t* w, Index codes) {
  __m256i sum[R][2];
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (Index k = 0; k < codes; k += 4, x += 4, w += 4 * kPanel) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
    for (int r = 0; r < R; ++r) {
      std::int32_t four;
      std::memcpy(&four, x + r * stride, sizeof four);
      const __m256i a = _mm256_set1_epi32(four);
      sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], a, low);
      sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], a, high);
    }
  }
  std::memcpy(&acc, &sum, sizeof sum);
}

template <int R>
NOTCH_AVX2 void dot_avx2(Uint16 (&acc)[R], const std::uint8_t* x, Index stride,
                         const std::int8_t* w, Index codes) {
  __m256i sum[R][4];  // each channel's four products as two sums side by side
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < 4; ++i) sum[r][i] = _mm256_setzero_si256();
  for (Index k = 0; k < codes; k += 4, x += 4, w += 4 * kPanel) {
    __m256i b[4];
    for (int i = 0; i < 4; ++i)
      b[i] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w) + i));
    for (int r = 0; r < R; ++r) {
      std::int32_t four;
      std::memcpy(&four, x + r * stride, sizeof four);
      const __m256i a = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
      for (int i = 0; i < 4; ++i)
        sum[r][i] = _mm256_add_epi32(sum[r][i], _mm256_madd_epi16(a, b[i]));
    }
  }
  for (int r = 0; r < R; ++r) {
    // hadd pairs within halves of 128 bits: channels 0 1 4 5 2 3 6 7.
    const __m256i low = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][0], sum[r][1]), 0xd8);
    const __m256i high = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][2], sum[r][3]), 0xd8);
    std::memcpy(&acc[r], &low, sizeof low);
    std::memcpy(reinterpret_cast<char*>(&acc[r]) + sizeof low, &high, sizeof high);
  }
}

template <int R>
using Dot = void (*)(Uint16 (&acc)[R], const std::uint8_t* x, Index stride, const std::int8_t* w,
                     Index codes);

template <int R>
NOTCH_AVX2 void tile(const IntegerProduct& p, Index row, Index panel, Dot<R> dot) {
  const IntegerShape& s = p.w.shape;
  const Index units = s.units(), padded = s.padded_unit(), stride = s.row_codes();
  const std::uint8_t* const x = p.codes + row * stride;
  const std::int8_t* const w = p.w.panels + panel * stride * kPanel;
  Float16 sum[R] = {};
  for (Index u = 0; u < units; ++u) {
    UnitTables tables;
    load_unit(tables, p.w, panel, u);
    Uint16 acc[R];
    dot(acc, x + u * padded, stride, w + u * padded * kPanel, padded);
    for (int r = 0; r < R; ++r) {
      Uint16 start;
      start_unit(start, tables, p.zero_points[row + r]);
      start += acc[r];
      add_unit(sum[r], start, tables, codes_sum_of(p, row + r, u), s.group > 0);
    }
  }
  PanelOutput output;
  load_output(output, p, panel);
  for (int r = 0; r < R; ++r) finish(output, sum[r], row + r, p.scales[row + r]);
}

template <int R>
void block(const IntegerProduct& p, Index row, Index rows, Index first, Index last, Dot<R> dot,
           Dot<1> dot_one) {
  for (Index panel = first; panel < last; ++panel) {
    const Index whole = rows / R * R;
    for (Index i = 0; i < whole; i += R) tile<R>(p, row + i, panel, dot);
    for (Index i = whole; i < rows; ++i) tile<1>(p, row + i, panel, dot_one);
  }
}

}  // namespace

void integer_block_avx2(const IntegerProduct& p, Index row, Index rows, Index first, Index last) {
  block<2>(p, row, rows, first, last, dot_avx2<2>, dot_avx2<1>);
}

void integer_block_avx_vnni(const IntegerProduct& p, Index row, Index rows, Index first,
                            Index last) {
  block<4>(p, row, rows, first, last, dot_avx_vnni<4>, dot_avx_vnni<1>);
}

}  // namespace notch::quant

#endif
