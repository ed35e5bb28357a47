// The inner loops of GPTQ's sweep over columns, for a strip of rows of W.
//
// A strip is stored column after column, its kStripRows weights of a column side by side: rows are
// independent, so that every loop here is vectorised over them. The factor R is packed in panels of
// kPanelCols columns. Every product is added to W on its own, in the order in which columns were
// rounded; a matrix product from a library would add the terms of a block first. So the result is
// the same for every block size, and the loops stay at the speed of the multiplier.
//
// All of it is in `real`: a target is off by at most (K + 1) u / (1 - (K + 1) u) times the sum of
// the magnitudes of its up to K terms, u = 2^-24, which is far less than a step of any grid here;
// in double it would take twice the time.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/base/index.h"
#include "autograd/base/real.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

inline constexpr std::int64_t kStripRows = 64;  // R passes once per strip
inline constexpr std::int64_t kPanelCols = 8;

/// An upper triangular matrix with ones on its diagonal, by panels: panel p holds columns [8p, 8p +
/// 8) of the rows above and in it. Half the memory of the square, read front to back.
struct PackedFactor {
  std::vector<real> values{};

  explicit PackedFactor(std::int64_t cols) : values(offset(quotient_up(cols, kPanelCols))) {}
  static constexpr std::size_t offset(std::int64_t panel) {
    return static_cast<std::size_t>(kPanelCols * kPanelCols * panel * (panel + 1) / 2);
  }
  /// Row `row` of a panel: kPanelCols numbers.
  real* at(std::int64_t panel, std::int64_t row) {
    return values.data() + offset(panel) + static_cast<std::size_t>(row * kPanelCols);
  }
  const real* at(std::int64_t panel, std::int64_t row) const {
    return values.data() + offset(panel) + static_cast<std::size_t>(row * kPanelCols);
  }
};

/// W[j] += Σ D[i] · R[first + i, j] for columns j in [begin, end), i in [0, terms) ascending;
/// W[j] and D[i] are strips' columns of kStripRows numbers. Every term is one multiply-add, fused
/// where the CPU can, whichever columns are asked for. Serial.
void update_columns(real* W, const real* D, const PackedFactor& R, std::int64_t first,
                    std::int64_t terms, std::int64_t begin, std::int64_t end);

/// One column of a strip: what rounding reads and writes, kStripRows numbers each.
struct StripColumn {
  const real* target = nullptr;  ///< the weights as the sweep has moved them
  const real* original = nullptr;
  const real* scale = nullptr;
  const real* lo = nullptr;  ///< the first level, of which the zero point is taken
  const real* hi = nullptr;  ///< the last one
  const Grid* grid = nullptr;
  real* moved = nullptr;          ///< original - ŵ
  double* losses = nullptr;       ///< += (weight · (target - ŵ))², in double
  std::int16_t* codes = nullptr;  ///< less the zero point; any for NaN, which stays in the loss
};

/// ŵ = level nearest to target / scale · scale, as quant/kernels/round.h rounds.
void round_column(const StripColumn& column, double weight);

/// Adds the losses alone that rounding the column would leave, in `real`: losses += (weight ·
/// (target - ŵ))².
void forecast_losses(const StripColumn& column, real weight, real* losses);

}  // namespace notch::quant
