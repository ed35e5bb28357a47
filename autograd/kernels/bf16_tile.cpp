#include "autograd/kernels/bf16_tile.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "autograd/base/index.h"
#endif

namespace notch::kernels {

#if defined(__x86_64__)
namespace {

void nothing() {}

/// Eight rows at a time: sixteen sums, two registers of b, one pair of a broadcast.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) void multiply_avx512(
    float* out, Index ld_out, bool resume, const std::uint32_t* a, const std::uint32_t* b,
    Index pairs) {
  constexpr int kGroup = 8;
  for (Index row = 0; row < kBf16Tile; row += kGroup, a += kGroup * kBf16Pairs) {
    float* to = out + row * ld_out;
    __m512 sums[kGroup][2];
#pragma GCC unroll 8
    for (int r = 0; r < kGroup; ++r) {
      sums[r][0] = resume ? _mm512_loadu_ps(to + r * ld_out) : _mm512_setzero_ps();
      sums[r][1] = resume ? _mm512_loadu_ps(to + r * ld_out + 16) : _mm512_setzero_ps();
    }
    for (Index p = 0; p < pairs; ++p) {
      const auto low = (__m512bh)_mm512_loadu_si512(b + p * kBf16Tile);
      const auto high = (__m512bh)_mm512_loadu_si512(b + p * kBf16Tile + 16);
#pragma GCC unroll 8
      for (int r = 0; r < kGroup; ++r) {
        const auto x = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r * kBf16Pairs + p]));
        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, low);
        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, high);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kGroup; ++r) {
      _mm512_storeu_ps(to + r * ld_out, sums[r][0]);
      _mm512_storeu_ps(to + r * ld_out + 16, sums[r][1]);
    }
  }
}

#define NOTCH_AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

NOTCH_AMX void begin_amx() {
  static constexpr TileConfig config;
  // GCC 12's _tile_loadconfig names only the first eight bytes as read.
  asm volatile("ldtilecfg %0" : : "m"(config));
}

NOTCH_AMX void end_amx() { _tile_release(); }

/// Sums 0 to 3 of 2 x 2 tiles of 16 x 16, rows of a in 4 and 5, columns of b in 6 and 7.
NOTCH_AMX void multiply_amx(float* out, Index ld_out, bool resume, const std::uint32_t* a,
                            const std::uint32_t* b, Index pairs) {
  constexpr Index kHalf = 16;
  const auto out_bytes = static_cast<std::size_t>(ld_out) * sizeof(float);
  float* lower = out + kHalf * ld_out;
  if (resume) {
    _tile_loadd(0, out, out_bytes);
    _tile_loadd(1, out + kHalf, out_bytes);
    _tile_loadd(2, lower, out_bytes);
    _tile_loadd(3, lower + kHalf, out_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  constexpr std::size_t kABytes = kBf16Pairs * 4, kBBytes = kBf16Tile * 4;
  for (Index p = 0; p < pairs; p += kBf16PairStep, b += kBf16PairStep * kBf16Tile) {
    _tile_loadd(6, b, kBBytes);
    _tile_loadd(4, a + p, kABytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kHalf, kBBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + kHalf * kBf16Pairs + p, kABytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + kHalf, out_bytes);
  _tile_stored(2, lower, out_bytes);
  _tile_stored(3, lower + kHalf, out_bytes);
}

}  // namespace

const Bf16Kernel& bf16_avx512() {
  static constexpr Bf16Kernel kernel{multiply_avx512, nothing, nothing};
  return kernel;
}

const Bf16Kernel& bf16_amx() {
  static constexpr Bf16Kernel kernel{multiply_amx, begin_amx, end_amx};
  return kernel;
}

#else

// Never called: bf16_available() is false here.
const Bf16Kernel& bf16_avx512() {
  static constexpr Bf16Kernel none{};
  return none;
}
const Bf16Kernel& bf16_amx() { return bf16_avx512(); }

#endif

}  // namespace notch::kernels
