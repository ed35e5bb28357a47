// packed_gemv with AVX-512F: 16 lanes are one register.
//
// Up to 4 bits a code is the index of a register-wide table (vpermps looks at 4 bits, so the junk
// above a shorter code is harmless: its table repeats); 5 bits take two tables. 6 and 7 bits are
// planted in the mantissa of 2^23. So a vector of weights costs a shift, one or two operations,
// and the multiply-add.
#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header trips them
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/prefetch.h"

#define NOTCH_ISA_FUNCTION __attribute__((target("avx512f")))
#define NOTCH_ISA __attribute__((target("avx512f"), always_inline)) inline

namespace notch::quant {
namespace {

using Floats = __m512;
typedef std::uint32_t Words __attribute__((vector_size(64)));

constexpr bool kUnrolls = true;

NOTCH_ISA Floats zero_floats() { return _mm512_setzero_ps(); }
NOTCH_ISA Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
NOTCH_ISA void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
NOTCH_ISA Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
NOTCH_ISA Words load_words(const std::uint8_t* p) { return (Words)_mm512_loadu_si512(p); }
NOTCH_ISA Words shift_right(Words v, int n) { return n == 0 ? v : v >> n; }
NOTCH_ISA Words shift_left(Words v, int n) { return v << n; }
/// Lanes l and l + 8, then 4, 2, 1.
NOTCH_ISA float fold(Floats v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

template <int bits, bool scaled>
struct Small {
  static constexpr int kBits = bits;
  static constexpr bool kScaled = scaled;
  Floats low, high;

  NOTCH_ISA Floats table(float scale, int first) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i u = _mm512_and_epi32(lane, _mm512_set1_epi32((1 << (bits < 4 ? bits : 4)) - 1));
    const Floats v = _mm512_cvtepi32_ps(_mm512_add_epi32(u, _mm512_set1_epi32(first)));
    return scaled ? _mm512_mul_ps(v, _mm512_set1_ps(scale)) : v;
  }
  NOTCH_ISA void set(float scale, int offset, const float*) {
    low = table(scale, offset);
    if constexpr (bits == 5) high = table(scale, offset + 16);
  }
  NOTCH_ISA Floats weights(Words u) const {
    if constexpr (bits == 5) return _mm512_permutex2var_ps(low, (__m512i)u, high);
    return _mm512_permutexvar_ps((__m512i)u, low);
  }
};

/// A codebook is such a table as it stands.
template <bool scaled>
struct Listed {
  static constexpr int kBits = 4;
  static constexpr bool kScaled = scaled;
  Floats levels;

  NOTCH_ISA void set(float scale, int, const float* table) {
    levels = load_floats(table);
    if constexpr (scaled) levels = _mm512_mul_ps(levels, _mm512_set1_ps(scale));
  }
  NOTCH_ISA Floats weights(Words u) const { return _mm512_permutexvar_ps((__m512i)u, levels); }
};

template <int bits, bool scaled>
struct Large {
  static constexpr int kBits = bits;
  static constexpr bool kScaled = scaled;
  Floats scale, below;

  NOTCH_ISA void set(float s, int offset, const float*) {
    scale = _mm512_set1_ps(s);
    below = _mm512_set1_ps(0x1p23f - static_cast<float>(offset));
  }
  NOTCH_ISA Floats weights(Words u) const {
    constexpr int kAndOr = 0xEA;  // (a & b) | c
    const __m512i planted = _mm512_ternarylogic_epi32(
        (__m512i)u, _mm512_set1_epi32((1 << bits) - 1), _mm512_set1_epi32(0x4B000000), kAndOr);
    const Floats v = _mm512_sub_ps(_mm512_castsi512_ps(planted), below);
    return scaled ? _mm512_mul_ps(v, scale) : v;
  }
};

template <bool scaled, bool shifted>
struct Bytes {
  static constexpr int kBits = 8;
  static constexpr bool kScaled = scaled;
  Floats scale, offset;

  NOTCH_ISA void set(float s, int o, const float*) {
    scale = _mm512_set1_ps(s);
    offset = _mm512_set1_ps(static_cast<float>(o));
  }
  NOTCH_ISA Floats weights(const std::uint8_t* p) const {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    Floats v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
    if constexpr (shifted) v = _mm512_add_ps(v, offset);
    return scaled ? _mm512_mul_ps(v, scale) : v;
  }
};

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/packed_lanes.h"

namespace notch::quant {

void packed_unpack_avx512(float* out, const PackedRows& w, Index row) {
  packed_unpack(out, w, row);
}
void packed_rows_avx512(const PackedCall& call, Index begin, Index end) {
  packed_tile(call, begin, end);
}

}  // namespace notch::quant
#endif
