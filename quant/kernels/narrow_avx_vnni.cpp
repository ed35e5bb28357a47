// narrow_linear with AVX-VNNI: vpdpbusd on 256 bits.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "quant/kernels/narrow_isa.h"
#include "quant/kernels/prefetch.h"

#define NOTCH_ISA_FUNCTION __attribute__((target("avx2,avxvnni")))
#define NOTCH_ISA __attribute__((target("avx2,avxvnni"), always_inline)) inline

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
  const __m256i a = _mm256_set1_epi32(four);
  __m256i sums[2], codes[2];
  __builtin_memcpy(sums, &acc, sizeof acc);
  __builtin_memcpy(codes, &u, sizeof u);
  for (int i = 0; i < 2; ++i) sums[i] = _mm256_dpbusd_avx_epi32(sums[i], codes[i], a);
  __builtin_memcpy(&acc, sums, sizeof acc);
}

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/narrow_tile.h"

namespace notch::quant {

void narrow_block_avx_vnni(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                           std::int64_t first, std::int64_t last) {
  narrow_block(p, row, rows, first, last);
}

}  // namespace notch::quant

#endif
