// Codebooks that are trained with the weights that they stand for: the learned format, whose units have a
// list of levels each (quant/numbers/own_levels.h).
//
// Han, Mao and Dally 2016, "Deep Compression" (arXiv:1510.00149), section 3: a shared level's gradient is
// the sum of its weights' gradients. Deviations: there a weight keeps the level that k-means gave it, and
// only levels are trained; here it takes the nearest one in every step and is itself trained, straight
// through, as on other grids. A level's parameter is its shift in units of its list's root mean square, so
// that one learning rate suits all layers and 0 is the first level to the bit. Where nothing learns the
// levels they follow the weights: after every update one step of Lloyd's algorithm (refit_levels).
#pragma once

#include <span>

#include "autograd/graph.h"
#include "quant/numbers/spec.h"
#include "quant/ops/fake_quant.h"

namespace notch::quant {

/// Of one unit: every level of `now` becomes the mean of those of `w` that are nearest to it, rounded to its
/// stored type; one that is nearest to none stays. `now` and `to` ascend and may be the same memory.
void refit_levels(std::span<real> to, std::span<const real> now, std::span<const real> w,
                  ScaleType type);

/// Of one unit: to_j = round_level(first_j + a shift_j), a the root mean square of `first`; ascending.
void shift_levels(std::span<real> to, std::span<const real> first, std::span<const real> shift,
                  ScaleType type);

/// ŵ, the level nearest to w of its unit's list:   w [rows, cols], levels [units · 2^bits] -> [rows, cols]
///   dL/dw = dL/dŵ; with Ste::clipped 0 farther beyond the ends than half the wider of the two outer gaps
/// `levels` must outlive the step.
Var fake_quant_listed(Var w, const Spec& spec, std::span<const real> levels, Ste ste);

/// The same on shift_levels of `first`:   shift [units · 2^bits], which learns
///   dL/dshift_j = a Σ dL/dŵ over the weights whose level it is
Var fake_quant_shifted(Var w, Var shift, const Spec& spec, std::span<const real> first, Ste ste);

}  // namespace notch::quant
