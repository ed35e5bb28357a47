// The instructions hold the state as two vectors, ABEF and CDGH, highest word first; sha256rnds2 does
// two rounds, sha256msg1 and sha256msg2 the small sigmas of four words of the schedule.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (SHA256RNDS2,
// SHA256MSG1, SHA256MSG2).
#include "autograd/kernels/sha256.h"

#include "autograd/base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace notch::kernels {
namespace {

#if defined(__x86_64__)

__attribute__((target("sha,sse4.1"))) void blocks_sha(std::uint32_t* state,
                                                      const unsigned char* data,
                                                      std::size_t blocks) {
  const auto load = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  const auto store = [](void* p, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); };
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  const __m128i cdab = _mm_shuffle_epi32(load(state), 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(load(state + 4), 0x1b);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
  for (; blocks > 0; --blocks, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i W[4];
    for (int i = 0; i < 4; ++i) W[i] = _mm_shuffle_epi8(load(data + 16 * i), big_endian);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m128i& w = W[i % 4];
      if (i >= 4) {
        // W_t = sigma1(W_t-2) + W_t-7 + sigma0(W_t-15) + W_t-16, for four t
        const __m128i seven = _mm_alignr_epi8(W[(i + 3) % 4], W[(i + 2) % 4], 4);
        w = _mm_add_epi32(_mm_sha256msg1_epu32(w, W[(i + 1) % 4]), seven);
        w = _mm_sha256msg2_epu32(w, W[(i + 3) % 4]);
      }
      __m128i wk = _mm_add_epi32(w, load(kSha256Constants.data() + 4 * i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
      wk = _mm_shuffle_epi32(wk, 0x0e);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, wk);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  store(state, _mm_blend_epi16(feba, dchg, 0xf0));
  store(state + 4, _mm_alignr_epi8(dchg, feba, 8));
}

#endif

}  // namespace

Sha256Blocks sha256_blocks() {
#if defined(__x86_64__)
  if (cpu_features().sha) return blocks_sha;
#endif
  return sha256_blocks_portable;
}

}  // namespace notch::kernels
