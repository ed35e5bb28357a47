// The part of GPTQ that all rows of a matrix share: the order of its columns and the factor of the
// Hessian in that order. quant/methods/gptq.h has the algorithm.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "quant/methods/column_update.h"

namespace notch::quant {

/// The order of the sweep: as in memory, or by decreasing H_ii with ties by index.
struct ColumnOrder {
  std::vector<std::int64_t> perm{};  ///< column of W that is rounded i-th
  std::vector<std::uint8_t> live{};  ///< by position in the sweep
  double mean = 1;                   ///< of the live diagonal
  std::int64_t dead = 0;
};

/// Numeric error naming `where` for a negative H_ii.
ColumnOrder order_columns(std::span<const double> H, std::int64_t K, bool act_order,
                          std::string_view where);

/// H + λI = R Rᵀ in the order of the sweep, R upper triangular. Counting positions from the end
/// makes it the lower factor that Cholesky computes: L[K-1-i, K-1-j] = R_ij. Columns that are not
/// live are replaced by those of mean·I.
struct DampedCholesky {
  std::int64_t K = 0;
  std::vector<std::int64_t> perm{};  ///< the order of the sweep
  std::unique_ptr<double[]> storage{};
  std::span<double> L{};  ///< [K, K] in the storage, lower triangle; the rest is not set
  double damp = 0;        ///< λ / mean: what was asked for, or more
  double lambda = 0;
  double condition = 0;  ///< (max R_jj / min R_jj)²: a lower bound on cond(H + λI)
};

/// Starts at `damp`; where H + λI has no Cholesky factor, or one with a condition above 1e14, goes
/// on with ten times as much (0.01 after 0), up to 1. Numeric error naming `where` beyond that.
DampedCholesky damped_cholesky(std::span<const double> H, const ColumnOrder& order, double damp,
                               std::string_view where);

/// R as the sweep reads it.
struct HessianFactor {
  std::vector<double> diagonal{};  ///< R_jj
  PackedFactor R;                  ///< R_ij / R_jj
};
HessianFactor pack_factor(const DampedCholesky& cholesky);

}  // namespace notch::quant
