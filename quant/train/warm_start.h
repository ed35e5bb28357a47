// Warm starts: training through rounding that begins with the codes of a model rounded after
// training.
//
// On its codes every weight is half a step away from its neighbours. While they drift nothing that
// the model computes changes, and weights that are pushed alike cross over together, many steps
// later and all at once: at 2 bits such a training ended above the loss it began with
// (experiments/LOG.md). So weights go back towards where they came from, within the cells of their
// codes. What the model computes stays the same to the bit.
#pragma once

#include "autograd/param.h"
#include "quant/methods/quantized.h"

namespace notch::quant {

/// How near to the edge of its cell a weight may be placed, as a share of the distance of codes.
inline constexpr double kCellMargin = 1.0 / 16;

/// Gives the weights that `rounded` names, in `params`, the values nearest to those in `before` that
/// round to the same codes: with v = w/s + z, a step of codes h and a code q
///   v = clamp(v_before, q - h/2 + m, q + h/2 - m),  m = kCellMargin h,
/// without the lower bound at the lowest code and without the upper one at the highest; with levels of the
/// unit's own v = w, and half of the way to the neighbouring level for h/2. In double,
/// stored as `real`. Usage error when a matrix is missing in either or has another shape.
void return_to_cells(ParamStore& params, const ParamStore& before, const Quantized& rounded);

}  // namespace notch::quant
