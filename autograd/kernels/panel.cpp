#include "autograd/kernels/panel.h"

#include <algorithm>
#include <cstring>

#include "autograd/base/index.h"
#include "autograd/kernels/register_tile.h"

namespace notch::kernels {
namespace {

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
void product_fused(const PanelProduct& p) { product<FusedTile>(p); }

}  // namespace

void panel_product(const PanelProduct& p) {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return product_512(p);
  if (isa() == Isa::avx2) return product_256(p);
#endif
  is_portable() ? product_fused(p) : product_128(p);
}

namespace {

/// out [4, 4] = xᵀ in registers. Portable: two rounds of interleaving.
template <class Real>
NOTCH_INLINE void transpose4(Real* out, const Real* x, Index ld_out, Index ldx) {
  typedef Real Row __attribute__((vector_size(4 * sizeof(Real))));
  Row a[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&a[i], x + i * ldx, sizeof(Row));
  const Row low02 = __builtin_shufflevector(a[0], a[2], 0, 4, 1, 5);
  const Row high02 = __builtin_shufflevector(a[0], a[2], 2, 6, 3, 7);
  const Row low13 = __builtin_shufflevector(a[1], a[3], 0, 4, 1, 5);
  const Row high13 = __builtin_shufflevector(a[1], a[3], 2, 6, 3, 7);
  const Row columns[4] = {__builtin_shufflevector(low02, low13, 0, 4, 1, 5),
                          __builtin_shufflevector(low02, low13, 2, 6, 3, 7),
                          __builtin_shufflevector(high02, high13, 0, 4, 1, 5),
                          __builtin_shufflevector(high02, high13, 2, 6, 3, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(out + i * ld_out, &columns[i], sizeof(Row));
}

template <class Real>
void transpose_strips(Real* out, const Real* x, Index rows, Index cols, Index ld_out, Index ldx) {
  // Strips of a cache line's columns: every line of x is read once, and what is written stays in
  // the first-level cache until it is complete.
  constexpr Index kStrip = 16;
  const Index full_rows = rows / 4 * 4, full_cols = cols / 4 * 4;
  for (Index strip = 0; strip < full_cols; strip += kStrip)
    for (Index r = 0; r < full_rows; r += 4)
      for (Index c = strip; c < std::min(full_cols, strip + kStrip); c += 4)
        transpose4(out + c * ld_out + r, x + r * ldx + c, ld_out, ldx);
  for (Index r = 0; r < rows; ++r)
    for (Index c = r < full_rows ? full_cols : 0; c < cols; ++c)
      out[c * ld_out + r] = x[r * ldx + c];
}

}  // namespace

void transpose(float* out, const float* x, Index rows, Index cols, Index ld_out, Index ldx) {
  transpose_strips(out, x, rows, cols, ld_out, ldx);
}
void transpose(double* out, const double* x, Index rows, Index cols, Index ld_out, Index ldx) {
  transpose_strips(out, x, rows, cols, ld_out, ldx);
}

}  // namespace notch::kernels
