#include "autograd/kernels/bf16_matmul.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "autograd/base/cpu.h"
#include "autograd/base/error.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/bf16_tile.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

constexpr Index kRows = 64;    // rows per task
constexpr Index kCols = 4096;  // columns per pass: their panels take at most 4 MiB
constexpr Index kTasks = 16;   // columns are split when there are fewer blocks of rows

/// What one pass covers: k in [k, k + depth) and columns [col, col + cols). `pairs` is depth in
/// pairs, completed with zeros to whole steps of a tile.
struct Pass {
  Index k = 0, depth = 0, col = 0, cols = 0, pairs = 0;
};

constexpr Index round_up(Index n, Index step) { return (n + step - 1) / step * step; }

/// The bfloat16 next to `value`, ties to even. A NaN stays one: its quiet bit is set, and the
/// rounding of its payload is left out.
NOTCH_INLINE std::uint32_t bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded;
}

/// Two neighbours in k as the instructions want them: the first in the low half.
NOTCH_INLINE std::uint32_t pair(float first, float second) {
  return bf16(first) | bf16(second) << 16;
}

/// One row of `depth` neighbours in k.
NOTCH_VECTOR void pack_row(std::uint32_t* out, const float* x, Index depth, Index pairs) {
  const Index whole = depth / 2;
  for (Index p = 0; p < whole; ++p) out[p] = pair(x[2 * p], x[2 * p + 1]);
  if (depth % 2 == 1) out[whole] = pair(x[depth - 1], 0);
  for (Index p = (depth + 1) / 2; p < pairs; ++p) out[p] = 0;
}

/// `width` neighbours of two rows of k, at distances `step` in out.
NOTCH_VECTOR void pack_columns(std::uint32_t* out, Index step, const float* first,
                               const float* second, Index width) {
  if (step == 1) {
    if (second)
      for (Index c = 0; c < width; ++c) out[c] = pair(first[c], second[c]);
    else
      for (Index c = 0; c < width; ++c) out[c] = bf16(first[c]);
    return;
  }
  for (Index c = 0; c < width; ++c) out[c * step] = pair(first[c], second ? second[c] : 0.0f);
}

/// Rows [row, row + rows) of `a` as pairs, [kBf16Pairs] each, completed to whole tiles with zeros.
void pack_rows(std::uint32_t* out, const Bf16Product& m, const Pass& pass, Index row, Index rows) {
  const Index padded = round_up(rows, kBf16Tile);
  for (Index r = m.trans_a ? rows : 0; r < padded; ++r) {
    if (r < rows)
      pack_row(out + r * kBf16Pairs, m.a + (row + r) * m.lda + pass.k, pass.depth, pass.pairs);
    else
      std::fill_n(out + r * kBf16Pairs, pass.pairs, 0u);
  }
  if (!m.trans_a) return;
  for (Index p = 0; p < pass.pairs; ++p) {
    const float* first = m.a + (pass.k + 2 * p) * m.lda + row;
    if (2 * p >= pass.depth)
      for (Index r = 0; r < rows; ++r) out[r * kBf16Pairs + p] = 0;
    else
      pack_columns(out + p, kBf16Pairs, first, 2 * p + 1 < pass.depth ? first + m.lda : nullptr,
                   rows);
  }
}

/// Panel `panel` of the pass: [pairs, kBf16Tile], zero beyond N.
void pack_panel(std::uint32_t* out, const Bf16Product& m, const Pass& pass, Index panel) {
  const Index col = pass.col + panel * kBf16Tile, width = std::min(kBf16Tile, m.N - col);
  std::fill_n(out, width < kBf16Tile ? pass.pairs * kBf16Tile : 0, 0u);
  if (m.trans_b) {
    alignas(64) std::uint32_t row[kBf16Tile][kBf16Pairs];
    for (Index c = 0; c < width; ++c)
      pack_row(row[c], m.b + (col + c) * m.ldb + pass.k, pass.depth, pass.pairs);
    for (Index p = 0; p < pass.pairs; ++p)
      for (Index c = 0; c < width; ++c) out[p * kBf16Tile + c] = row[c][p];
    return;
  }
  const Index used = (pass.depth + 1) / 2;
  for (Index p = 0; p < used; ++p) {
    const float* first = m.b + (pass.k + 2 * p) * m.ldb + col;
    pack_columns(out + p * kBf16Tile, 1, first, 2 * p + 1 < pass.depth ? first + m.ldb : nullptr,
                 width);
  }
  std::fill_n(out + used * kBf16Tile, (pass.pairs - used) * kBf16Tile, 0u);
}

/// Rows [row, row + rows) of the output times panels [first, last) of the pass's columns.
void block(const Bf16Product& m, const Pass& pass, const std::uint32_t* b, Index row, Index rows,
           Index first, Index last, const Bf16Kernel& kernel) {
  alignas(64) std::uint32_t a[kRows * kBf16Pairs];
  alignas(64) float edge[kBf16Tile * kBf16Tile];
  pack_rows(a, m, pass, row, rows);
  const bool resume = m.accumulate || pass.k > 0;
  kernel.begin();
  for (Index panel = first; panel < last; ++panel) {
    const std::uint32_t* b_panel = b + panel * pass.pairs * kBf16Tile;
    const Index col = pass.col + panel * kBf16Tile, width = std::min(kBf16Tile, m.N - col);
    for (Index i = 0; i < rows; i += kBf16Tile) {
      const std::uint32_t* a_rows = a + i * kBf16Pairs;
      float* out = m.out + (row + i) * m.ld_out + col;
      const Index height = std::min(kBf16Tile, rows - i);
      if (height == kBf16Tile && width == kBf16Tile) {
        kernel.multiply(out, m.ld_out, resume, a_rows, b_panel, pass.pairs);
        continue;
      }
      // At the edges the same tile works on a copy, so every element sees the same arithmetic.
      for (Index r = 0; resume && r < height; ++r)
        std::copy_n(out + r * m.ld_out, width, edge + r * kBf16Tile);
      kernel.multiply(edge, kBf16Tile, resume, a_rows, b_panel, pass.pairs);
      for (Index r = 0; r < height; ++r)
        std::copy_n(edge + r * kBf16Tile, width, out + r * m.ld_out);
    }
  }
  kernel.end();
}

void run_pass(const Bf16Product& m, const Pass& pass, std::uint32_t* packed,
              const Bf16Kernel& kernel) {
  const Index panels = (pass.cols + kBf16Tile - 1) / kBf16Tile;
  parallel_for(panels,
               [&](Index p) { pack_panel(packed + p * pass.pairs * kBf16Tile, m, pass, p); });
  const Index row_blocks = (m.M + kRows - 1) / kRows;
  const Index splits = std::clamp<Index>(kTasks / row_blocks, 1, panels);
  parallel_for(row_blocks * splits, [&](Index task) {
    const Index row = task / splits * kRows, part = task % splits;
    block(m, pass, packed, row, std::min(kRows, m.M - row), panels * part / splits,
          panels * (part + 1) / splits, kernel);
  });
}

}  // namespace

bool bf16_available() { return cpu_features().amx_bf16 || cpu_features().avx512_bf16; }

void bf16_matmul(const Bf16Product& m) {
  check(bf16_available(), "bf16", "this processor has neither AVX512-BF16 nor AMX");
  bf16_matmul(m, cpu_features().amx_bf16 ? bf16_amx() : bf16_avx512());
}

void bf16_matmul(const Bf16Product& m, const Bf16Kernel& kernel) {
  thread_local std::vector<std::uint32_t> buffer;
  constexpr Index kDepth = 2 * kBf16Pairs, kStep = 2 * kBf16PairStep;
  const Index passes = (m.K + kDepth - 1) / kDepth;
  const Index depth = passes > 0 ? round_up((m.K + passes - 1) / passes, kStep) : 0;
  const auto elements =
      static_cast<std::size_t>(round_up(std::min(m.N, kCols), kBf16Tile) * depth / 2);
  if (buffer.size() < elements) buffer.resize(elements);
  for (Index col = 0; col < m.N; col += kCols)
    for (Index k = 0; k < m.K; k += depth) {
      const Index here = std::min(depth, m.K - k);
      run_pass(m,
               {.k = k,
                .depth = here,
                .col = col,
                .cols = std::min(kCols, m.N - col),
                .pairs = round_up(here, kStep) / 2},
               buffer.data(), kernel);
    }
}

}  // namespace notch::kernels
