#include "autograd/kernels/panel.h"

#include <algorithm>

#include "autograd/kernels/register_tile.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kDepth = 256;  // b's panel of 256 x 32 stays in a 32 KiB cache

template <class Tile>
NOTCH_INLINE void product(const PanelProduct& p) {
  for (Index k0 = 0; k0 < p.K; k0 += kDepth)
    for (Index n = 0; n < p.N; n += kPanelCols)
      for (Index i = 0; i < p.M; i += kPanelRows) {
        if (n >= p.n_end + i + kPanelRows) continue;
        const Index begin = std::max(k0, p.k_begin + i);
        const Index end = std::min({p.K, k0 + kDepth, p.k_end + i + kPanelRows});
        if (begin >= end) continue;
        real* out = p.out + i * p.ld_out + n;
        Tile::multiply_panel(out, p.ld_out, p.accumulate || k0 > 0 ? out : nullptr, p.ld_out,
                             p.a + i * p.a_row + begin * p.a_k, p.a_row, p.a_k,
                             p.b + begin * p.ldb + n, p.ldb, end - begin);
      }
}

#if defined(__x86_64__)
NOTCH_TARGET("avx512f,fma") void product_512(const PanelProduct& p) { product<Tile512>(p); }
NOTCH_TARGET("avx2,fma") void product_256(const PanelProduct& p) { product<Tile256>(p); }
#endif
void product_128(const PanelProduct& p) { product<Tile128>(p); }

}  // namespace

void panel_product(const PanelProduct& p) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return product_512(p);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return product_256(p);
#endif
  product_128(p);
}

void transpose(real* out, const real* x, Index rows, Index cols, Index ld_out, Index ldx) {
  // 4 x 4 blocks: four cache lines are read and four written at a time.
  constexpr Index kEdge = 4;
  const Index full_rows = rows / kEdge * kEdge, full_cols = cols / kEdge * kEdge;
  for (Index r = 0; r < full_rows; r += kEdge) {
    for (Index c = 0; c < full_cols; c += kEdge) {
      real block[kEdge][kEdge];
      for (Index i = 0; i < kEdge; ++i)
        for (Index j = 0; j < kEdge; ++j) block[j][i] = x[(r + i) * ldx + c + j];
      for (Index j = 0; j < kEdge; ++j) std::copy_n(block[j], kEdge, out + (c + j) * ld_out + r);
    }
  }
  for (Index r = 0; r < rows; ++r)
    for (Index c = r < full_rows ? full_cols : 0; c < cols; ++c)
      out[c * ld_out + r] = x[r * ldx + c];
}

}  // namespace notch::kernels
