#include "autograd/kernels/matmul.h"

#include <algorithm>
#include <vector>

#include "autograd/base/thread_pool.h"
#include "autograd/kernels/panel.h"
#include "autograd/kernels/register_tile.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kDepth = 256;  // k per pass: a panel of 256 x 32 stays in a 32 KiB cache
constexpr Index kRows =
    64;  // rows per task: with kDepth, a's block stays in the second-level cache
constexpr Index kTasks = 16;        // columns are split when there are fewer blocks of rows
constexpr Index kLargest = 196608;  // elements of b

/// Rows [row, row + rows) of the output times panels [first, last) of b, packed as [K, 32] each.
template <class Tile>
NOTCH_INLINE void block(const Matmul& m, const real* packed, Index row, Index rows, Index first,
                        Index last) {
  alignas(64) real last_rows[kPanelRows * kDepth];
  alignas(64) real edge[kPanelRows * kPanelCols];
  const Index full = rows / kPanelRows * kPanelRows;
  const Index passes = (m.K + kDepth - 1) / kDepth, step = (m.K + passes - 1) / passes;
  for (Index k = 0; k < m.K; k += step) {
    const Index depth = std::min(step, m.K - k);
    if (full < rows)  // an incomplete group of rows, completed with zeros
      for (Index r = 0; r < kPanelRows; ++r)
        for (Index d = 0; d < depth; ++d)
          last_rows[r * kDepth + d] =
              full + r < rows ? m.a[(row + full + r) * m.lda + k + d] : real{0};
    for (Index panel = first; panel < last; ++panel) {
      const real* b = packed + (panel * m.K + k) * kPanelCols;
      const Index col = panel * kPanelCols, width = std::min(kPanelCols, m.N - col);
      for (Index i = 0; i < rows; i += kPanelRows) {
        const real* a = i < full ? m.a + (row + i) * m.lda + k : last_rows;
        const Index a_row = i < full ? m.lda : kDepth;
        real* out = m.out + (row + i) * m.ld_out + col;
        const bool resume = m.accumulate || k > 0;
        const real* init = resume ? out : m.bias ? m.bias + col : nullptr;
        const Index ld_init = resume ? m.ld_out : 0;
        if (i < full && width == kPanelCols) {
          Tile::multiply_panel(out, m.ld_out, init, ld_init, a, a_row, 1, b, kPanelCols, depth);
          continue;
        }
        // At the edges the same tile works on a copy, so every element sees the same arithmetic.
        const Index height = std::min(kPanelRows, rows - i);
        for (Index r = 0; r < kPanelRows; ++r)
          for (Index c = 0; c < kPanelCols; ++c)
            edge[r * kPanelCols + c] =
                init && r < height && c < width ? init[r * ld_init + c] : real{0};
        Tile::multiply_panel(edge, kPanelCols, edge, kPanelCols, a, a_row, 1, b, kPanelCols, depth);
        for (Index r = 0; r < height; ++r)
          std::copy_n(edge + r * kPanelCols, width, out + r * m.ld_out);
      }
    }
  }
}

using Block = void (*)(const Matmul&, const real*, Index, Index, Index, Index);

#if defined(__x86_64__)
NOTCH_TARGET("avx512f,fma")
void block_512(const Matmul& m, const real* b, Index row, Index rows, Index first, Index last) {
  block<Tile512>(m, b, row, rows, first, last);
}
NOTCH_TARGET("avx2,fma")
void block_256(const Matmul& m, const real* b, Index row, Index rows, Index first, Index last) {
  block<Tile256>(m, b, row, rows, first, last);
}
#endif
void block_128(const Matmul& m, const real* b, Index row, Index rows, Index first, Index last) {
  block<Tile128>(m, b, row, rows, first, last);
}

Block choose_block() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return block_512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return block_256;
#endif
  return block_128;
}

/// Panel `panel` of b: out [K, 32] = alpha · b, zero beyond N.
void pack_panel(real* out, const Matmul& m, Index panel) {
  const Index col = panel * kPanelCols, width = std::min(kPanelCols, m.N - col);
  if (width < kPanelCols) std::fill_n(out, m.K * kPanelCols, real{0});
  if (m.trans_b) {
    transpose(out, m.b + col * m.ldb, width, m.K, kPanelCols, m.ldb);
  } else {
    for (Index k = 0; k < m.K; ++k) std::copy_n(m.b + k * m.ldb + col, width, out + k * kPanelCols);
  }
  if (m.alpha != 1)
    for (Index i = 0; i < m.K * kPanelCols; ++i) out[i] *= m.alpha;
}

}  // namespace

void matmul(const Matmul& m) {
  thread_local std::vector<real> buffer;
  const Index panels = (m.N + kPanelCols - 1) / kPanelCols;
  const auto elements = static_cast<std::size_t>(panels * kPanelCols * m.K);
  if (buffer.size() < elements) buffer.resize(elements);
  real* const packed = buffer.data();
  parallel_for(panels, [&](Index p) { pack_panel(packed + p * m.K * kPanelCols, m, p); });
  const Block run = choose_block();
  const Index row_blocks = (m.M + kRows - 1) / kRows;
  const Index splits = std::clamp<Index>(kTasks / row_blocks, 1, panels);
  parallel_for(row_blocks * splits, [&](Index task) {
    const Index row = task / splits * kRows, part = task % splits;
    run(m, packed, row, std::min(kRows, m.M - row), panels * part / splits,
        panels * (part + 1) / splits);
  });
}

bool matmul_pays(Index M, Index N, Index K) {
#if defined(__x86_64__)
  return M >= 32 && N >= 16 && K >= 16 && N * K <= kLargest && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma");
#else
  static_cast<void>(M), static_cast<void>(N), static_cast<void>(K);
  return false;
#endif
}

}  // namespace notch::kernels
