// GPTQ's sweep for formats whose levels are the matrix's own (quant/numbers/own_levels.h): what rounding left of
// the columns before is fed back, as in quant/methods/gptq.h. Columns that share a word are rounded together, which
// is the block feedback of QuIP# (BlockLDLQ; Tseng et al. 2024, arXiv:2402.04396, section 4.1).
//
// With H + λI = R Rᵀ, R upper triangular with ones on its diagonal after its columns are divided by R_jj, a
// column's target is t_j = w_j + Σ_{i<j} (w_i - ŵ_i) R_ij; a block B's is what makes the columns before it cost
// nothing more:
//   t_B = w_B + c R_BB⁻¹,   c_j = Σ_{i before B} (w_i - ŵ_i) R_ij
// and it gets the word whose vector is nearest to t_B / scale.
//
// Targets spread wider than the weights whose levels they meet (experiments/LOG.md has that of ranges).
// So with Clip::output levels are learned once more, four times, from the targets that the last sweep
// had, each weighed by its R_jj²; scales of words are tried at four multiples; and a row keeps what leaves
// the least error of the output. The sources do neither.
#pragma once

#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "quant/methods/gptq_factor.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// Writes q.codes for w [q.rows, q.cols], given q.at. `order` is that of memory where columns share words.
/// Returns the targets, [q.rows, q.cols]; of words what the columns before the block make of them. Parallel
/// over rows.
std::vector<real> sweep_own_levels(const ColumnOrder& order, const HessianFactor& factor,
                                   std::span<const real> w, QTensor& q);

/// The same, and with `search` the levels and scales that lose least: losses[r] as gptq_sweep.h's measure has
/// them.
void round_own_levels(const ColumnOrder& order, const HessianFactor& factor,
                      std::span<const real> w, bool search, QTensor& q, std::span<double> losses);

}  // namespace notch::quant
