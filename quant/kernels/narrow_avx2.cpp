// narrow_linear with plain AVX2. vpmaddubsw saturates in 16 bits, but with weights of 7 bits at
// most it never has to: 2 · 127 · 128 = 32512.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "quant/kernels/narrow_isa.h"
#include "quant/kernels/prefetch.h"

#define NOTCH_ISA_FUNCTION __attribute__((target("avx2")))
#define NOTCH_ISA __attribute__((target("avx2"), always_inline)) inline

namespace notch::quant {
namespace {

typedef std::uint16_t Codes __attribute__((vector_size(64)));
typedef std::uint32_t Sums __attribute__((vector_size(64)));
typedef float Reals __attribute__((vector_size(64)));

constexpr int kMostTokens = 4;

NOTCH_ISA void load(Codes& v, const std::uint8_t* p) { __builtin_memcpy(&v, p, sizeof v); }

NOTCH_ISA void add_products(Sums& acc, const Codes& u, const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  const __m256i a = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
  __m256i sums[2], codes[2];
  __builtin_memcpy(sums, &acc, sizeof acc);
  __builtin_memcpy(codes, &u, sizeof u);
  for (int i = 0; i < 2; ++i)
    sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(codes[i], a), ones));
  __builtin_memcpy(&acc, sums, sizeof acc);
}

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/narrow_tile.h"

namespace notch::quant {

void narrow_block_avx2(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                       std::int64_t first, std::int64_t last) {
  narrow_block(p, row, rows, first, last);
}

}  // namespace notch::quant

#endif
