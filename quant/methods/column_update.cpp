#include "quant/methods/column_update.h"

#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/kernels/register_tile.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

// A panel of R and the columns of D, 32 rows at a time, are the operands of the register tile.
static_assert(kPanelCols == kernels::kPanelRows && kStripRows % kernels::kPanelCols == 0);

/// `Tile` serves whole panels, `Column` a column of one.
template <class Tile, class Column>
NOTCH_INLINE void update(real* W, const real* D, const PackedFactor& R, Index first, Index terms,
                         Index begin, Index end) {
  constexpr Index kLine = 64 / sizeof(real);
  for (Index j = begin; j < end;) {
    const Index panel = j / kPanelCols, column = j % kPanelCols;
    const real* r = R.at(panel, first) + column;
    real* w = W + j * kStripRows;
    if (column != 0 || j + kPanelCols > end) {  // part of a panel
      for (Index s = 0; s < kStripRows; s += Column::kCols)
        Column::multiply(w + s, 0, w + s, 0, r, 0, kPanelCols, D + s, kStripRows, terms);
      ++j;
      continue;
    }
    // Where the next panels lie, no hardware prefetcher guesses.
    if (j + 3 * kPanelCols < end) {
      const real* next = R.at(panel + 2, first);
      for (Index i = 0; i < terms * kPanelCols; i += kLine) __builtin_prefetch(next + i, 0, 2);
    }
    for (Index s = 0; s < kStripRows; s += kernels::kPanelCols)
      Tile::multiply_panel(w + s, kStripRows, w + s, kStripRows, r, 1, kPanelCols, D + s,
                           kStripRows, terms);
    j += kPanelCols;
  }
}

#if defined(__x86_64__)
NOTCH_TARGET("avx512f,fma")
void update_512(real* W, const real* D, const PackedFactor& R, Index first, Index terms,
                Index begin, Index end) {
  update<kernels::Tile512, kernels::Tile<64, 1, 2>>(W, D, R, first, terms, begin, end);
}
NOTCH_TARGET("avx2,fma")
void update_256(real* W, const real* D, const PackedFactor& R, Index first, Index terms,
                Index begin, Index end) {
  update<kernels::Tile256, kernels::Tile<32, 1, 2>>(W, D, R, first, terms, begin, end);
}
#endif

}  // namespace

void update_columns(real* W, const real* D, const PackedFactor& R, Index first, Index terms,
                    Index begin, Index end) {
#if defined(__x86_64__)
  if (isa() == Isa::avx512) return update_512(W, D, R, first, terms, begin, end);
  if (isa() == Isa::avx2) return update_256(W, D, R, first, terms, begin, end);
#endif
  if (is_portable()) {
    update<kernels::FusedTile, kernels::Tile<16, 1, 2, true>>(W, D, R, first, terms, begin, end);
    return;
  }
  update<kernels::Tile128, kernels::Tile<16, 1, 2>>(W, D, R, first, terms, begin, end);
}

NOTCH_CLONES void round_column(const StripColumn& column, double weight) {
  with_rounding(*column.grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::int64_t s = 0; s < kStripRows; ++s) {
      const real target = column.target[s], v = target / column.scale[s];
      const real level = round(v, column.lo[s], column.hi[s]);
      const real rounded = level * column.scale[s];
      const double loss = weight * (static_cast<double>(target) - static_cast<double>(rounded));
      column.moved[s] = column.original[s] - rounded;
      column.losses[s] += loss * loss;
      column.codes[s] = static_cast<std::int16_t>(round.code(v, level == level ? level : real{0}));
    }
  });
}

NOTCH_CLONES void forecast_losses(const StripColumn& column, real weight, real* losses) {
  with_rounding(*column.grid, [&](const auto& round) NOTCH_GRID_INLINE {
    for (std::int64_t s = 0; s < kStripRows; ++s) {
      const real target = column.target[s];
      const real level = round(target / column.scale[s], column.lo[s], column.hi[s]);
      const real loss = weight * (target - level * column.scale[s]);
      losses[s] += loss * loss;
    }
  });
}

}  // namespace notch::quant
