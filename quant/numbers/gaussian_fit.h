// Ranges of a normal distribution: the scale with the least squared error for weights of a known spread.
//
// Of weights N(0, 1) rounded to the nearest level · s the expected squared error has one smallest value
// over s (Max 1960, "Quantizing for minimum distortion", table II, for evenly spread levels). Unit by
// unit the root mean square takes the place of the deviation. QuEST, Panferov et al. 2025
// (arXiv:2502.05003), section 3.1.
#pragma once

#include <span>

#include "quant/kernels/grid.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// E (x - ŝ(x))² of a standard normal x rounded to the nearest of level · s; s > 0.
double gaussian_error(const Grid& grid, double s);
/// The s for which that is least, to 1e-7 of it.
double gaussian_scale(const Grid& grid);

/// The scale of a unit: `of_normal`, which is gaussian_scale of its grid, times its root mean square, as it
/// is stored. A unit of zeros gets what scale_range gives it.
real fitted_scale(std::span<const real> unit, const Spec& spec, double of_normal);

/// Half the largest distance of neighbouring levels, as a multiple of the scale: the largest error
/// that rounding makes inside of the range, and what QuEST trusts a weight's gradient up to.
double trusted_error(const Grid& grid);

}  // namespace notch::quant
