// Leave one out: which weights of a unit cost the others more than they cost themselves to keep.
//
//   E(S) = Σ_{j in S} ((w_j - ŵ_j) a_j)², ŵ with the min-max range of S;   gain_i = E(all) - E(all \ i)
// Source: SpQR (Dettmers et al. 2023, arXiv:2306.03078), algorithm 1, `outliers`. A weight that is none
// of the two extremes leaves the range as it is and gains its own error, so a unit takes as many
// roundings as it has weights, and as many again for each extreme.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// gain_i of the weights of one unit, `a` beside them.
std::vector<double> leave_one_out_gains(std::span<const real> unit, std::span<const double> a,
                                        const Spec& spec);

}  // namespace notch::quant
