// SparseGPT: prune column after column, and let the columns still to come absorb the error.
//
// Frantar and Alistarh 2023 (arXiv:2301.00774), algorithm 1: GPTQ's sweep (quant/methods/gptq.h, from
// which factor and updates are) in which a pruned weight is "rounded" to 0 and a kept one stays. With
// H + λI = R Rᵀ the error of pruning w_j is (w_j R_jj)² (their w² / [H⁻¹]_jj², [H⁻¹] a Cholesky factor);
// the weights of the smallest errors go,
//   unstructured  of all rows in the next 128 columns, the sparsity's share
//   N:M           of every M columns of a row, when the first of them is reached
// as they are by then, columns in their own order. Under a method that rounds by GPTQ the mask is taken
// from this sweep, and one more sweep over the weights as they were rounds and prunes at once: without
// pruned weights that is GPTQ, bit for bit.
// Deviations: (a) the paper's joint sweep chooses masks beside rounded columns, here they are chosen
// beside kept ones, so that rounding may search its ranges; (b) exactly the share is pruned, of equal
// errors the last.
#pragma once

#include "quant/methods/prune.h"

namespace notch::quant {

inline constexpr double kSparseGptDamp = 0.01;  ///< λ over the mean of H's diagonal: the paper's
inline constexpr std::int64_t kMaskColumns = 128;

/// Prunes w [rows, cols] given H [cols, cols]. Parallel over rows. Errors as gptq's, and
/// keep_largest's.
Pruned sparsegpt(std::span<const real> w, std::int64_t rows, std::int64_t cols,
                 std::span<const double> H, const PruneOptions& options, std::string_view where);

extern const Pruner kSparseGpt;

}  // namespace notch::quant
