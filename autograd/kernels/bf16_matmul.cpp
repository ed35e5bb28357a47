#include "autograd/kernels/bf16_matmul.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "autograd/base/cpu.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/bf16_tile.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/operands.h"

namespace notch::kernels {
namespace {

// A pass packs its part of b for all tasks: at most 16 MiB.
constexpr Index kPassCols = 4096;
constexpr Index kPassDepth = 2048;
// A task's share of the output and of both operands stays in a second-level cache of 1 MiB. Tasks
// are made smaller when there are few, rows first: every task packs its rows of a.
constexpr Index kTaskTiles = 4;    // tiles of rows
constexpr Index kTaskPanels = 16;  // tiles of columns
constexpr Index kTasks = 8;

constexpr Index kUnit = kBf16Tile * kBf16Pairs;  // 32 rows or columns of one slice, in pairs
constexpr Index kBlock = kBf16PairStep;          // pairs that are packed at a time

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

/// out = inᵀ, 16 x 16. Four times, rows i and i + 8 are interleaved.
NOTCH_INLINE void transpose16(std::uint32_t* out, Index ld_out, const std::uint32_t* in,
                              Index ld_in) {
  typedef std::uint32_t Row __attribute__((vector_size(64)));
  Row x[16], y[16];
  for (int i = 0; i < 16; ++i) std::memcpy(&x[i], in + i * ld_in, sizeof(Row));
  for (int stage = 0; stage < 4; ++stage) {
    for (int i = 0; i < 8; ++i) {
      y[2 * i] = __builtin_shufflevector(x[i], x[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                         6, 22, 7, 23);
      y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                             13, 29, 14, 30, 15, 31);
    }
    for (int i = 0; i < 16; ++i) x[i] = y[i];
  }
  for (int i = 0; i < 16; ++i) std::memcpy(out + i * ld_out, &x[i], sizeof(Row));
}

/// One operand: x(k, i), i a row of the output for `a` and a column for `b`.
struct Operand {
  const float* x = nullptr;
  Index ld = 0;
  bool k_adjacent = false;  ///< neighbours in k are neighbours in memory; otherwise those in i
  bool rows = false;        ///< packed as rows of pairs [32, kBf16Pairs]; otherwise [pairs, 32]
};

/// Packs `count` (at most 32) neighbours in i from k on, completed with zeros.
NOTCH_VECTOR(void, pack, std::uint32_t* out, const Operand& operand, Index i, Index count, Index k,
             Index depth) {
  constexpr Index kEdge = 2 * kBlock;
  static_assert(kEdge == kBf16Tile);
  alignas(64) float completed[kEdge * kEdge];
  alignas(64) std::uint32_t block[kBf16Tile * kBlock];
  for (Index p = 0; 2 * p < depth; p += kBlock) {
    const Index n = std::min(kEdge, depth - 2 * p);
    Index ld = operand.ld;
    const float* x =
        operand.k_adjacent ? operand.x + i * ld + k + 2 * p : operand.x + (k + 2 * p) * ld + i;
    if (count < kEdge || n < kEdge) {
      const Index outer = operand.k_adjacent ? count : n, inner = operand.k_adjacent ? n : count;
      std::fill_n(completed, kEdge * kEdge, 0.0f);
      for (Index r = 0; r < outer; ++r) std::copy_n(x + r * ld, inner, completed + r * kEdge);
      x = completed, ld = kEdge;
    }
    if (operand.k_adjacent) {
      std::uint32_t* to = operand.rows ? out + p : block;
      const Index ld_to = operand.rows ? kBf16Pairs : kBlock;
      for (Index r = 0; r < kBf16Tile; ++r)
        for (Index j = 0; j < kBlock; ++j)
          to[r * ld_to + j] = pair(x[r * ld + 2 * j], x[r * ld + 2 * j + 1]);
    } else {
      std::uint32_t* to = operand.rows ? block : out + p * kBf16Tile;
      for (Index j = 0; j < kBlock; ++j)
        for (Index c = 0; c < kBf16Tile; ++c)
          to[j * kBf16Tile + c] = pair(x[2 * j * ld + c], x[(2 * j + 1) * ld + c]);
    }
    if (operand.k_adjacent == operand.rows) continue;
    for (Index half = 0; half < kBf16Tile; half += 16)
      if (operand.rows)
        transpose16(out + p + half * kBf16Pairs, kBf16Pairs, block + half, kBf16Tile);
      else
        transpose16(out + p * kBf16Tile + half, kBf16Tile, block + half * kBlock, kBlock);
  }
}

/// k in [begin, begin + size), rows or columns likewise.
struct Range {
  Index begin = 0, size = 0;
};

/// Part of the columns and of k: cut into slices of k, in which b is packed.
struct Pass {
  Range cols{}, k{};
  Index slices() const { return quotient_up(k.size, 2 * kBf16Pairs); }
  Index slice_depth() const { return round_up(quotient_up(k.size, slices()), 2 * kBlock); }
  Range slice(Index i) const {
    const Index begin = i * slice_depth();
    return {k.begin + begin, std::min(slice_depth(), k.size - begin)};
  }
  Index panels() const { return quotient_up(cols.size, kBf16Tile); }
};

void pack_tile(std::uint32_t* out, const Operand& operand, const Range& range, Index tile,
               const Range& k) {
  const Index first = tile * kBf16Tile;
  pack(out, operand, range.begin + first, std::min(kBf16Tile, range.size - first), k.begin, k.size);
}

/// Tiles of rows times panels of columns, slice by slice.
void multiply(const Bf16Product& m, const Pass& pass, const std::uint32_t* packed_b, Range tiles,
              Range panels, const Bf16Kernel& kernel) {
  alignas(64) std::uint32_t packed_a[kTaskTiles * kUnit];
  alignas(64) float edge[kBf16Tile * kBf16Tile];
  const Operand a{m.a, m.lda, !m.trans_a, true};
  kernel.begin();
  for (Index slice = 0; slice < pass.slices(); ++slice) {
    const Range k = pass.slice(slice);
    const Index pairs = round_up(k.size, 2 * kBlock) / 2;
    const bool resume = m.accumulate || k.begin > 0, add = resume || m.bias;
    for (Index tile = 0; tile < tiles.size; ++tile)
      pack_tile(packed_a + tile * kUnit, a, {0, m.M}, tiles.begin + tile, k);
    for (Index panel = panels.begin; panel < panels.begin + panels.size; ++panel) {
      const std::uint32_t* b = packed_b + (panel * pass.slices() + slice) * kUnit;
      const Index col = panel * kBf16Tile, width = std::min(kBf16Tile, pass.cols.size - col);
      for (Index tile = 0; tile < tiles.size; ++tile) {
        const std::uint32_t* a_rows = packed_a + tile * kUnit;
        const Index row = (tiles.begin + tile) * kBf16Tile, height = std::min(kBf16Tile, m.M - row);
        float* out = m.out + row * m.ld_out + pass.cols.begin + col;
        if (!resume && m.bias)
          for (Index r = 0; r < height; ++r)
            std::copy_n(m.bias + pass.cols.begin + col, width, out + r * m.ld_out);
        if (height == kBf16Tile && width == kBf16Tile) {
          kernel.multiply(out, m.ld_out, add, a_rows, b, pairs);
          continue;
        }
        // At the edges the same tile works on a copy, so every element sees the same arithmetic.
        for (Index r = 0; add && r < height; ++r)
          std::copy_n(out + r * m.ld_out, width, edge + r * kBf16Tile);
        kernel.multiply(edge, kBf16Tile, add, a_rows, b, pairs);
        for (Index r = 0; r < height; ++r)
          std::copy_n(edge + r * kBf16Tile, width, out + r * m.ld_out);
      }
    }
  }
  kernel.end();
}

void run_pass(const Bf16Product& m, const Pass& pass, std::uint32_t* packed_b,
              const Bf16Kernel& kernel) {
  const Index slices = pass.slices(), panels = pass.panels(), tiles = quotient_up(m.M, kBf16Tile);
  const Operand b{m.b, m.ldb, m.trans_b, false};
  parallel_for(panels * slices, [&](Index unit) {
    pack_tile(packed_b + unit * kUnit, b, pass.cols, unit / slices, pass.slice(unit % slices));
  });
  Index down = quotient_up(tiles, kTaskTiles), across = quotient_up(panels, kTaskPanels);
  down = std::clamp(quotient_up(kTasks, across), down, tiles);
  across = std::clamp(quotient_up(kTasks, down), across, panels);
  const auto part = [](Index i, Index parts, Index n) {
    return Range{n * i / parts, n * (i + 1) / parts - n * i / parts};
  };
  parallel_for(down * across, [&](Index task) {
    multiply(m, pass, packed_b, part(task / across, down, tiles),
             part(task % across, across, panels), kernel);
  });
}

}  // namespace

bool bf16_available() { return cpu_features().amx_bf16 || cpu_features().avx512_bf16; }

void bf16_matmul(const Bf16Product& m) {
  check(bf16_available(), "bf16", "this processor has neither AVX512-BF16 nor AMX");
  require_operands("bf16", m);
  if (m.K == 0) return write_no_terms(m);
  bf16_matmul(m, cpu_features().amx_bf16 ? bf16_amx() : bf16_avx512());
}

void bf16_matmul(const Bf16Product& m, const Bf16Kernel& kernel) {
  struct alignas(64) Line {
    std::uint32_t pairs[16];
  };
  thread_local std::vector<Line> buffer;
  for (Index col = 0; col < m.N; col += kPassCols)
    for (Index k = 0; k < m.K; k += kPassDepth) {
      const Pass pass{.cols = {col, std::min(kPassCols, m.N - col)},
                      .k = {k, std::min(kPassDepth, m.K - k)}};
      const auto lines = static_cast<std::size_t>(pass.panels() * pass.slices() * kUnit / 16);
      if (buffer.size() < lines) buffer.resize(lines);
      run_pass(m, pass, buffer.data()->pairs, kernel);
    }
}

}  // namespace notch::kernels
