// packed_gemv with AVX2 and FMA: 16 lanes are two registers. See packed_avx512.cpp; a lookup of 16
// floats takes two of 8 here, so it is left to codebooks, and every other code below 8 bits is
// planted in the mantissa of 2^23.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "quant/kernels/prefetch.h"

#define NOTCH_ISA_FUNCTION __attribute__((target("avx2,fma")))
#define NOTCH_ISA __attribute__((target("avx2,fma"), always_inline)) inline

namespace notch::quant {
namespace {

struct Floats {
  __m256 low, high;
};
struct Words {
  __m256i low, high;
};

NOTCH_ISA Floats both(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
constexpr bool kUnrolls = false;

NOTCH_ISA Floats zero_floats() { return both(0); }
NOTCH_ISA Floats load_floats(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
NOTCH_ISA void store_floats(float* p, Floats v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
NOTCH_ISA Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
NOTCH_ISA Floats add(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
NOTCH_ISA Floats multiply(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
NOTCH_ISA Words load_words(const std::uint8_t* p) {
  const auto* v = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
}
NOTCH_ISA Words shift_right(Words v, int n) {
  return {_mm256_srl_epi32(v.low, _mm_cvtsi32_si128(n)),
          _mm256_srl_epi32(v.high, _mm_cvtsi32_si128(n))};
}
NOTCH_ISA Words shift_left(Words v, int n) {
  return {_mm256_sll_epi32(v.low, _mm_cvtsi32_si128(n)),
          _mm256_sll_epi32(v.high, _mm_cvtsi32_si128(n))};
}
NOTCH_ISA Words operator|(Words a, Words b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}

/// Lanes l and l + 8, then 4, 2, 1.
NOTCH_ISA float fold(Floats v) {
  const __m256 eight = _mm256_add_ps(v.low, v.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

template <int bits, bool scaled>
struct Large {
  static constexpr int kBits = bits;
  static constexpr bool kScaled = scaled;
  Floats scale, above;

  NOTCH_ISA void set(float s, int offset, const float*) {
    scale = both(s);
    above = both(static_cast<float>(offset) - 0x1p23f);
  }
  NOTCH_ISA __m256 planted(__m256i u) const {
    const __m256i code = _mm256_and_si256(u, _mm256_set1_epi32((1 << bits) - 1));
    return _mm256_castsi256_ps(_mm256_or_si256(code, _mm256_set1_epi32(0x4B000000)));
  }
  NOTCH_ISA Floats weights(Words u) const {
    const Floats v = add({planted(u.low), planted(u.high)}, above);
    return scaled ? multiply(v, scale) : v;
  }
};

template <int bits, bool scaled>
using Small = Large<bits, scaled>;

template <bool scaled>
struct Listed {
  static constexpr int kBits = 4;
  static constexpr bool kScaled = scaled;
  Floats levels;  // 0 to 7, 8 to 15

  NOTCH_ISA void set(float scale, int, const float* table) {
    levels = load_floats(table);
    if constexpr (scaled) levels = multiply(levels, both(scale));
  }
  /// The lookups see bits 0 to 2 of a code, the choice between them bit 3.
  NOTCH_ISA __m256 eight(__m256i u) const {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(levels.low, u),
                            _mm256_permutevar8x32_ps(levels.high, u),
                            _mm256_castsi256_ps(_mm256_slli_epi32(u, 28)));
  }
  NOTCH_ISA Floats weights(Words u) const { return {eight(u.low), eight(u.high)}; }
};

template <bool scaled, bool shifted>
struct Bytes {
  static constexpr int kBits = 8;
  static constexpr bool kScaled = scaled;
  Floats scale, offset;

  NOTCH_ISA void set(float s, int o, const float*) {
    scale = both(s);
    offset = both(static_cast<float>(o));
  }
  NOTCH_ISA __m256 eight(const std::uint8_t* p) const {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  NOTCH_ISA Floats weights(const std::uint8_t* p) const {
    Floats v = {eight(p), eight(p + 8)};
    if constexpr (shifted) v = add(v, offset);
    return scaled ? multiply(v, scale) : v;
  }
};

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/packed_lanes.h"

namespace notch::quant {

void packed_unpack_avx2(float* out, const PackedRows& w, Index row) { packed_unpack(out, w, row); }
void packed_rows_avx2(const PackedCall& call, Index begin, Index end) {
  packed_tile(call, begin, end);
}

}  // namespace notch::quant
#endif
