// Wanda: pruning by weights and activations (Sun et al. 2023, arXiv:2306.11695). A weight's score is
// |w_ij| · ‖x_j‖₂ (eq. 1), compared within its row of outputs; weights that are kept stay as they are.
// Of inputs H = mean x xᵀ is known: √H_jj is ‖x_j‖₂ times a constant, which moves no comparison.
#pragma once

#include "quant/methods/prune.h"

namespace notch::quant {

/// |w_ij| √H_jj for w [rows, cols], H [cols, cols].
std::vector<double> wanda_scores(std::span<const real> w, std::int64_t cols,
                                 std::span<const double> H);

extern const Pruner kWanda;

}  // namespace notch::quant
