// narrow_linear with AVX-512 VNNI.
#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header trips them
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "quant/kernels/narrow_isa.h"
#include "quant/kernels/prefetch.h"

#define NOTCH_TARGETS "avx512f,avx512bw,avx512vl,avx512vnni"
#define NOTCH_ISA_FUNCTION __attribute__((target(NOTCH_TARGETS)))
#define NOTCH_ISA __attribute__((target(NOTCH_TARGETS), always_inline)) inline

namespace notch::quant {
namespace {

typedef std::uint16_t Codes __attribute__((vector_size(64)));
typedef std::uint32_t Sums __attribute__((vector_size(64)));
typedef float Reals __attribute__((vector_size(64)));

constexpr int kMostTokens = 8;

NOTCH_ISA void load(Codes& v, const std::uint8_t* p) { v = (Codes)_mm512_loadu_si512(p); }

#define NOTCH_HAS_HALVES
NOTCH_ISA void load_halves(Reals& s, const std::uint8_t* p) {
  s = (Reals)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

NOTCH_ISA void add_products(Sums& acc, const Codes& u, const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  acc = (Sums)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)u, _mm512_set1_epi32(four));
}

}  // namespace
}  // namespace notch::quant

#include "quant/kernels/narrow_tile.h"

namespace notch::quant {

void narrow_block_avx512_vnni(const NarrowProduct& p, std::int64_t row, std::int64_t rows,
                              std::int64_t first, std::int64_t last) {
  narrow_block(p, row, rows, first, last);
}

}  // namespace notch::quant

#endif
