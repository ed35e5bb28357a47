#include "autograd/kernels/panel.h"

#include <algorithm>
#include <cstring>

#include "autograd/kernels/lanes.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors cross only functions that are always inlined
#endif

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kDepth = 256;  // b's panel of 256 x 32 stays in a 32 KiB cache

/// `kBytes` of reals as one value; the compiler's vector extension, on any target.
template <int kBytes>
struct Vector {
  typedef real type __attribute__((vector_size(kBytes)));
  static constexpr Index kLanesOf = kBytes / static_cast<Index>(sizeof(real));
};

/// out [R, W] (+)= a · b in registers, W = kVectors vectors.
template <int kBytes, int R, int kVectors>
NOTCH_INLINE void register_tile(real* out, Index ld_out, const real* a, Index a_row, Index a_k,
                                const real* b, Index ldb, Index K, bool accumulate) {
  using Vec = typename Vector<kBytes>::type;
  constexpr Index kWidth = Vector<kBytes>::kLanesOf;
  Vec sum[R][kVectors];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kVectors; ++v) {
      if (accumulate)
        std::memcpy(&sum[r][v], out + r * ld_out + v * kWidth, sizeof(Vec));
      else
        sum[r][v] = Vec{};
    }
  for (Index k = 0; k < K; ++k) {
    Vec row[kVectors];
    for (int v = 0; v < kVectors; ++v) std::memcpy(&row[v], b + k * ldb + v * kWidth, sizeof(Vec));
    for (int r = 0; r < R; ++r) {
      const real x = a[r * a_row + k * a_k];
      for (int v = 0; v < kVectors; ++v) sum[r][v] += x * row[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kVectors; ++v)
      std::memcpy(out + r * ld_out + v * kWidth, &sum[r][v], sizeof(Vec));
}

/// The whole product with register tiles of R rows and kVectors vectors of kBytes.
template <int kBytes, int R, int kVectors>
NOTCH_INLINE void product(const PanelProduct& p) {
  constexpr Index kTileCols = kVectors * Vector<kBytes>::kLanesOf;
  static_assert(kPanelCols % kTileCols == 0 && kPanelRows % R == 0);
  for (Index k0 = 0; k0 < p.K; k0 += kDepth)
    for (Index n = 0; n < p.N; n += kPanelCols)
      for (Index i = 0; i < p.M; i += kPanelRows) {
        if (n >= p.n_end + i + kPanelRows) continue;
        const Index begin = std::max(k0, p.k_begin + i);
        const Index end = std::min({p.K, k0 + kDepth, p.k_end + i + kPanelRows});
        if (begin >= end) continue;
        for (Index r = i; r < i + kPanelRows; r += R)
          for (Index c = n; c < n + kPanelCols; c += kTileCols)
            register_tile<kBytes, R, kVectors>(
                p.out + r * p.ld_out + c, p.ld_out, p.a + r * p.a_row + begin * p.a_k, p.a_row,
                p.a_k, p.b + begin * p.ldb + c, p.ldb, end - begin, p.accumulate || k0 > 0);
      }
}

// The register tile depends on the number and size of registers, so these are separate functions
// and not clones: 8 x 32 in sixteen 512-bit registers, 4 x 16 in eight 256-bit or sixteen 128-bit
// ones.
#if defined(__x86_64__)
#if defined(__clang__)
#define NOTCH_TARGET(isa) __attribute__((target(isa)))
#else
#define NOTCH_TARGET(isa) __attribute__((target(isa), optimize("fp-contract=fast")))
#endif
constexpr int kRowVectors512 = sizeof(real) == 4 ? 2 : 4;
NOTCH_TARGET("avx512f,fma") void product_512(const PanelProduct& p) {
  product<64, sizeof(real) == 4 ? 8 : 4, kRowVectors512>(p);
}
NOTCH_TARGET("avx2,fma") void product_256(const PanelProduct& p) { product<32, 4, 2>(p); }
#undef NOTCH_TARGET
#endif
void product_base(const PanelProduct& p) { product<16, 4, 2>(p); }

}  // namespace

void panel_product(const PanelProduct& p) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return product_512(p);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return product_256(p);
#endif
  product_base(p);
}

void transpose(real* out, const real* x, Index rows, Index cols, Index ld_out, Index ldx) {
  // 4 x 4 blocks: with sixteen values in registers the compiler turns them by shuffles.
  constexpr Index kEdge = 4;
  const Index full_rows = rows / kEdge * kEdge, full_cols = cols / kEdge * kEdge;
  for (Index r = 0; r < full_rows; r += kEdge)
    for (Index c = 0; c < full_cols; c += kEdge) {
      real block[kEdge][kEdge];
      for (Index i = 0; i < kEdge; ++i)
        for (Index j = 0; j < kEdge; ++j) block[j][i] = x[(r + i) * ldx + c + j];
      for (Index j = 0; j < kEdge; ++j) std::copy_n(block[j], kEdge, out + (c + j) * ld_out + r);
    }
  for (Index r = 0; r < rows; ++r)
    for (Index c = r < full_rows ? full_cols : 0; c < cols; ++c)
      out[c * ld_out + r] = x[r * ldx + c];
}

}  // namespace notch::kernels
