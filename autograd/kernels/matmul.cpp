#include "autograd/kernels/matmul.h"

#include <algorithm>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/operands.h"
#include "autograd/kernels/panel.h"
#include "autograd/kernels/register_tile.h"

namespace notch::kernels {
namespace {

constexpr Index kDepth = 256;  // k per pass: a panel of 256 x 32 stays in a 32 KiB cache
constexpr Index kRows =
    64;  // rows per task: with kDepth, a's block stays in the second-level cache
constexpr Index kTasks = 16;       // columns are split when there are fewer blocks of rows
constexpr Index kLongTasks = 4;    // with trans_a: every task reads all of its rows and columns
constexpr Index kPassCols = 1024;  // a pass packs its part of b for all tasks: at most 8 MiB
constexpr Index kPassDepth = 2048;
constexpr Index kSmall = 196608;  // elements that fit into a second-level cache

/// Whether a gradient of weights (trans_a) is small: long sums for few elements.
template <class Real>
bool is_short(const MatmulOf<Real>& m) {
  return m.M * m.N <= kSmall;
}

/// Whether b's whole panels are read where they lie. Packing is another pass over b: it pays if b
/// must be transposed, and if many blocks of rows read one that no cache holds.
template <class Real>
bool reads_in_place(const MatmulOf<Real>& m) {
  return !m.trans_b && (m.trans_a ? is_short(m) : m.N * m.K <= kSmall);
}

/// The first of b's panels that is packed, as [K, 32]; those before it are read in place.
template <class Real>
Index first_packed(const MatmulOf<Real>& m) {
  return reads_in_place(m) ? m.N / kPanelCols : 0;
}

/// A block of an operand: x(i, k) = at[i · step + k · k_step].
template <class Real>
struct Strided {
  const Real* at = nullptr;
  Index step = 0, k_step = 0;
};

/// Rows [row, row + rows) of the output times panels [first, last) of b.
template <class Tile, class Real>
NOTCH_INLINE void block(const MatmulOf<Real>& m, const Real* packed, Index row, Index rows,
                        Index first, Index last) {
  alignas(64) Real last_rows[kPanelRows * kDepth];
  alignas(64) Real edge[kPanelRows * kPanelCols];
  alignas(64) Real transposed[kRows * kDepth];
  // Of a transposed operand, neighbours in k lie a row apart: where many panels read them, on a page
  // of memory each, a copy with only these rows pays.
  const bool packs_a = m.trans_a && !is_short(m);
  const Index full = rows / kPanelRows * kPanelRows, unpacked = first_packed(m);
  const Index passes = quotient_up(m.K, kDepth), step = quotient_up(m.K, passes);
  for (Index k = 0; k < m.K; k += step) {
    const Index depth = std::min(step, m.K - k);
    Strided<Real> block_a{m.a + row * m.lda + k, m.lda, 1};
    if (m.trans_a) block_a = {m.a + k * m.lda + row, 1, m.lda};
    if (packs_a) {
      for (Index d = 0; d < depth; ++d)
        std::copy_n(block_a.at + d * m.lda, rows, transposed + d * kRows);
      block_a = {transposed, 1, kRows};
    }
    if (full < rows)  // an incomplete group of rows, completed with zeros
      for (Index r = 0; r < kPanelRows; ++r)
        for (Index d = 0; d < depth; ++d)
          last_rows[r * kDepth + d] =
              full + r < rows ? block_a.at[(full + r) * block_a.step + d * block_a.k_step]
                              : Real{0};
    for (Index panel = first; panel < last; ++panel) {
      const Index col = panel * kPanelCols, width = std::min(kPanelCols, m.N - col);
      const bool in_place = panel < unpacked;
      const Real* b =
          in_place ? m.b + k * m.ldb + col : packed + ((panel - unpacked) * m.K + k) * kPanelCols;
      const Index ldb = in_place ? m.ldb : kPanelCols;
      for (Index i = 0; i < rows; i += kPanelRows) {
        Strided<Real> a{last_rows, kDepth, 1};
        if (i < full) a = {block_a.at + i * block_a.step, block_a.step, block_a.k_step};
        Real* out = m.out + (row + i) * m.ld_out + col;
        // Stores to memory that is in no cache would hold up a short product.
        if (k == 0 && i + kPanelRows < full)
          prefetch<true>(out + kPanelRows * m.ld_out, kPanelRows, width, m.ld_out);
        const bool resume = m.accumulate || k > 0;
        const Real* init = resume ? out : m.bias ? m.bias + col : nullptr;
        const Index ld_init = resume ? m.ld_out : 0;
        if (i < full && width == kPanelCols) {
          Tile::multiply_panel(out, m.ld_out, init, ld_init, a.at, a.step, a.k_step, b, ldb, depth);
          continue;
        }
        // At the edges the same tile works on a copy, so every element sees the same arithmetic.
        const Index height = std::min(kPanelRows, rows - i);
        for (Index r = 0; r < kPanelRows; ++r)
          for (Index c = 0; c < kPanelCols; ++c)
            edge[r * kPanelCols + c] =
                init && r < height && c < width ? init[r * ld_init + c] : Real{0};
        Tile::multiply_panel(edge, kPanelCols, edge, kPanelCols, a.at, a.step, a.k_step, b, ldb,
                             depth);
        for (Index r = 0; r < height; ++r)
          std::copy_n(edge + r * kPanelCols, width, out + r * m.ld_out);
      }
    }
  }
}

#if defined(__x86_64__)
template <class Real>
NOTCH_TARGET("avx512f,fma")
void block_512(const MatmulOf<Real>& m, const Real* b, Index row, Index rows, Index first,
               Index last) {
  block<Tile512Of<Real>>(m, b, row, rows, first, last);
}
template <class Real>
NOTCH_TARGET("avx2,fma")
void block_256(const MatmulOf<Real>& m, const Real* b, Index row, Index rows, Index first,
               Index last) {
  block<Tile256Of<Real>>(m, b, row, rows, first, last);
}
#endif
template <class Real>
void block_128(const MatmulOf<Real>& m, const Real* b, Index row, Index rows, Index first,
               Index last) {
  block<Tile128Of<Real>>(m, b, row, rows, first, last);
}
template <class Real>
void block_fused(const MatmulOf<Real>& m, const Real* b, Index row, Index rows, Index first,
                 Index last) {
  block<FusedTileOf<Real>>(m, b, row, rows, first, last);
}

template <class Real>
using Block = void (*)(const MatmulOf<Real>&, const Real*, Index, Index, Index, Index);

template <class Real>
Block<Real> choose_block() {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return block_512<Real>;
  if (isa() == Isa::avx2) return block_256<Real>;
#endif
  return is_portable() ? block_fused<Real> : block_128<Real>;
}

/// Panel `panel` of b: out [K, 32] = b, zero beyond N.
template <class Real>
void pack_panel(Real* out, const MatmulOf<Real>& m, Index panel) {
  const Index col = panel * kPanelCols, width = std::min(kPanelCols, m.N - col);
  if (width < kPanelCols) std::fill_n(out, m.K * kPanelCols, Real{0});
  if (m.trans_b) {
    transpose(out, m.b + col * m.ldb, width, m.K, kPanelCols, m.ldb);
  } else {
    for (Index k = 0; k < m.K; ++k) std::copy_n(m.b + k * m.ldb + col, width, out + k * kPanelCols);
  }
}

template <class Real>
void run_pass(const MatmulOf<Real>& m) {
  thread_local std::vector<Real> buffer;
  const Index panels = quotient_up(m.N, kPanelCols), first = first_packed(m);
  const auto elements = static_cast<std::size_t>((panels - first) * kPanelCols * m.K);
  if (buffer.size() < elements) buffer.resize(elements);
  Real* const packed = buffer.data();
  parallel_for(panels - first,
               [&](Index p) { pack_panel(packed + p * m.K * kPanelCols, m, first + p); });
  const Block<Real> run = choose_block<Real>();
  const Index row_blocks = quotient_up(m.M, kRows);
  const Index tasks = m.trans_a && is_short(m) ? kLongTasks : kTasks;
  const Index splits = std::clamp<Index>(tasks / row_blocks, 1, panels);
  parallel_for(row_blocks * splits, [&](Index task) {
    const Index row = task / splits * kRows, part = task % splits;
    run(m, packed, row, std::min(kRows, m.M - row), panels * part / splits,
        panels * (part + 1) / splits);
  });
}

template <class Real>
void multiply(const MatmulOf<Real>& m) {
  require_operands("matmul", m);
  if (m.K == 0) return write_no_terms(m);  // no pass would write the output
  if (reads_in_place(m)) return run_pass(m);
  for (Index col = 0; col < m.N; col += kPassCols)
    for (Index k = 0; k < m.K; k += kPassDepth) {
      MatmulOf<Real> pass = m;
      pass.N = std::min(kPassCols, m.N - col);
      pass.K = std::min(kPassDepth, m.K - k);
      pass.out += col;
      pass.a += m.trans_a ? k * m.lda : k;
      pass.b += m.trans_b ? col * m.ldb + k : k * m.ldb + col;
      if (m.bias) pass.bias += col;
      pass.accumulate = m.accumulate || k > 0;
      run_pass(pass);
    }
}

}  // namespace

void matmul(const MatmulOf<float>& m) { multiply(m); }
void matmul(const MatmulOf<double>& m) { multiply(m); }

bool matmul_pays(Index M, Index N, Index K, bool trans_a) {
#if defined(__x86_64__)
  if (M < 32 || N < 16 || K < 16) return false;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
  if (trans_a) return M * N <= kSmall;
  const bool zen4 = __builtin_cpu_is("amdfam19h") && __builtin_cpu_supports("avx512f");
  return zen4 || N * K <= kSmall;
#else
  static_cast<void>(M), static_cast<void>(N), static_cast<void>(K), static_cast<void>(trans_a);
  return false;
#endif
}

}  // namespace notch::kernels
