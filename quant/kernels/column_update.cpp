#include "quant/kernels/column_update.h"

#include <algorithm>
#include <cstring>

#include "autograd/base/simd.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kLanes = 8;
typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));

}  // namespace

NOTCH_CLONES void update_columns(double* W, const double* D, const PackedFactor& R,
                                 std::int64_t first, std::int64_t terms, std::int64_t begin,
                                 std::int64_t end) {
  for (std::int64_t j = begin; j < end;) {
    const std::int64_t panel = j / kPanelCols, column = j % kPanelCols;
    const double* r = R.at(panel, first) + column;
    if (column != 0 || j + kPanelCols > end) {  // part of a panel
      double* w = W + j * kStripRows;
      for (std::int64_t i = 0; i < terms; ++i)
        for (std::int64_t s = 0; s < kStripRows; ++s)
          w[s] += D[i * kStripRows + s] * r[i * kPanelCols];
      ++j;
      continue;
    }
    // Where the next panels lie, no hardware prefetcher guesses.
    if (j + 3 * kPanelCols < end) {
      const double* next = R.at(panel + 2, first);
      for (std::int64_t i = 0; i < terms; ++i) __builtin_prefetch(next + i * kPanelCols, 0, 2);
    }
    for (std::int64_t s = 0; s < kStripRows; s += kLanes) {
      double* w = W + j * kStripRows + s;
      Lanes sum[kPanelCols];
      for (int c = 0; c < kPanelCols; ++c) std::memcpy(&sum[c], w + c * kStripRows, sizeof(Lanes));
      for (std::int64_t i = 0; i < terms; ++i) {
        Lanes d;
        std::memcpy(&d, D + i * kStripRows + s, sizeof(Lanes));
        for (int c = 0; c < kPanelCols; ++c) sum[c] += d * r[i * kPanelCols + c];
      }
      for (int c = 0; c < kPanelCols; ++c) std::memcpy(w + c * kStripRows, &sum[c], sizeof(Lanes));
    }
    j += kPanelCols;
  }
}

NOTCH_CLONES void round_column(const StripColumn& column, double weight) {
  for (std::int64_t s = 0; s < kStripRows; ++s) {
    const double target = column.target[s];
    const real steps = round_to_code(static_cast<real>(target) / column.scale[s], column.lo[s],
                                     column.hi[s], column.step);
    const double rounded = static_cast<double>(steps * column.scale[s]);
    const double loss = weight * (target - rounded);
    column.moved[s] = static_cast<double>(column.original[s]) - rounded;
    column.losses[s] += loss * loss;
    column.steps[s] = static_cast<std::int16_t>(steps == steps ? steps : real{0});
  }
}

NOTCH_CLONES void forecast_losses(const StripColumn& column, real weight, real* losses) {
  for (std::int64_t s = 0; s < kStripRows; ++s) {
    const real target = static_cast<real>(column.target[s]);
    const real steps =
        round_to_code(target / column.scale[s], column.lo[s], column.hi[s], column.step);
    const real loss = weight * (target - steps * column.scale[s]);
    losses[s] += loss * loss;
  }
}

}  // namespace notch::quant
