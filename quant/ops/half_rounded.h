// Factors of a side product on the tape, as its file holds them.
#pragma once

#include "autograd/graph.h"

namespace notch::quant {

/// y = float16(factor · x), of x's shape. Straight-through: dx = factor dy. The double build does not
/// round.
Var half_rounded(Var x, double factor = 1);

/// One number of it.
real half_of(real x, double factor = 1);

}  // namespace notch::quant
