#include "autograd/kernels/syrk.h"

#include <algorithm>
#include <vector>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/panel.h"

namespace notch::kernels {
namespace {

// x is packed once, in panels of columns; a panel is both operands of the register tile.
constexpr Index kPassRows = 2 * kSyrkRows;  // packed at a time
constexpr Index kPackRows = 32;             // per task of packing
constexpr Index kDepth = 256;  // rows per product of panels, of which a second-level cache holds 8
constexpr Index kMaxEdge = 4;  // panels; the edge of an output tile

/// Panels [first, last) on both sides of an output tile.
struct Edge {
  Index first = 0, last = 0;
};

/// Rows [begin, end) of x [rows, N] into the panels.
NOTCH_VECTOR(void, pack, real* packed, const real* x, Index rows, Index N, Index begin, Index end) {
  const Index whole = N / kPanelCols, rest = N % kPanelCols;
  for (Index r = begin; r < end; ++r) {
    const real* from = x + r * N;
    real* to = packed + r * kPanelCols;
    for (Index panel = 0; panel < whole; ++panel, from += kPanelCols, to += rows * kPanelCols)
      for (Index c = 0; c < kPanelCols; ++c) to[c] = from[c];
    if (rest == 0) continue;
    for (Index c = 0; c < kPanelCols; ++c) to[c] = c < rest ? from[c] : real{0};
  }
}

NOTCH_VECTOR(void, add_row, double* out, const real* x, Index n) {
  for (Index i = 0; i < n; ++i) out[i] += static_cast<double>(x[i]);
}

/// out += the tile's part of xᵀ x, for `rows` packed rows.
void add_tile(double* out, const real* packed, Index rows, Index N, Edge down, Edge across) {
  constexpr Index kRow = kMaxEdge * kPanelCols;
  alignas(64) real tile[kRow * kRow];
  for (Index begin = 0; begin < rows; begin += kSyrkRows) {
    const Index end = std::min(rows, begin + kSyrkRows);
    for (Index k = begin; k < end; k += kDepth)
      for (Index c = across.first; c < across.last; ++c)
        for (Index r = down.first; r < std::min(down.last, c + 1); ++r)
          panel_product({.out = tile + ((r - down.first) * kRow + c - across.first) * kPanelCols,
                         .a = packed + (r * rows + k) * kPanelCols,
                         .b = packed + (c * rows + k) * kPanelCols,
                         .M = kPanelCols,
                         .N = kPanelCols,
                         .K = std::min(kDepth, end - k),
                         .ld_out = kRow,
                         .a_row = 1,
                         .a_k = kPanelCols,
                         .ldb = kPanelCols,
                         .accumulate = k > begin});
    const Index row = down.first * kPanelCols, col = across.first * kPanelCols;
    for (Index r = row; r < std::min(N, down.last * kPanelCols); ++r) {
      const Index c = std::max(r, col), n = std::min(N, across.last * kPanelCols) - c;
      add_row(out + r * N + c, tile + (r - row) * kRow + c - col, n);
    }
  }
}

}  // namespace

void syrk(std::span<double> out, std::span<const real> x, std::int64_t M, std::int64_t N) {
  require_extent("syrk", extent("syrk", {N, N}), out);
  require_extent("syrk", extent("syrk", {M, N}), x);
  if (N == 0) return;
  constexpr std::size_t kLine = 64 / sizeof(real);
  struct alignas(64) Line {
    real values[kLine];
  };
  thread_local std::vector<Line> buffer;
  const Index panels = quotient_up(N, kPanelCols);
  const Index edge = std::clamp<Index>(panels / 4, 1, kMaxEdge);
  const Index tiles = quotient_up(panels, edge);
  const auto edge_at = [&](Index tile) {
    return Edge{tile * edge, std::min(panels, (tile + 1) * edge)};
  };
  for (Index first = 0; first < M; first += kPassRows) {
    const Index rows = std::min(kPassRows, M - first);
    const std::size_t lines = static_cast<std::size_t>(panels * kPanelCols * rows) / kLine;
    if (buffer.size() < lines) buffer.resize(lines);
    real* const packed = buffer.data()->values;
    parallel_for(quotient_up(rows, kPackRows), [&](Index block) {
      const Index begin = block * kPackRows;
      pack(packed, x.data() + first * N, rows, N, begin, std::min(rows, begin + kPackRows));
    });
    // Tiles above the diagonal first: those on it are about half the work, so that no thread is
    // left with much at the end.
    const Index above = tiles * (tiles - 1) / 2;
    parallel_for(above + tiles, [&](Index i) {
      Index down = i - above, across = down;
      if (i < above) {
        down = 0, across = i + 1;
        while (across >= tiles) across += ++down + 1 - tiles;
      }
      add_tile(out.data(), packed, rows, N, edge_at(down), edge_at(across));
    });
  }
}

}  // namespace notch::kernels
