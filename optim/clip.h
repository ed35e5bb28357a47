// The global gradient norm: clipping by it (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063,
// section 3.2) and the last check before the weights change.
//
// Gradients are not rewritten: the optimizer multiplies by the scale while it reads them.
// Deviation from PyTorch: no 1e-6 is added to the norm.
#pragma once

#include <cstdint>
#include <vector>

#include "optim/param_group.h"

namespace notch::optim {

struct GradNorm {
  double norm = 0;          ///< √Σ g² over the groups with clip = true
  double norm_outside = 0;  ///< the same over the other groups
  double scale = 1;         ///< min(1, clip / norm); of no use when a norm is not finite
};

/// Norms of the gradients that the parameters hold, and the scale that limits `norm` to `clip`
/// (0: no limit). Sums of squares (kernels::sum_of_squares) are added in double, one parameter
/// after another in the order of the groups, so the result depends neither on threads nor on where
/// parameters lie. A NaN or infinite gradient makes its norm not finite; so does one above 1e19,
/// whose square float does not hold. Allocates nothing. Throws (usage) when clip is negative.
GradNorm grad_norm(const std::vector<ParamGroup>& groups, double clip);

/// Throws Fault::numeric naming `step` and the first parameter whose gradient is not finite, if
/// either norm is not. To be called before Optimizer::step.
void require_finite(const GradNorm& norm, const std::vector<ParamGroup>& groups, std::int64_t step);

}  // namespace notch::optim
