// E8P: 65,536 points of a lattice in eight dimensions, and which of them is nearest. QuIP#, Tseng et al.
// 2024 (arXiv:2402.04396), section 4.2.
//
// A point is p + 1/4 or p - 1/4, the quarter in every coordinate. The coordinates of p are halves of odd
// numbers and their sum is even, so that all points lie in E8 + 1/4, no two closer than √2. |p| is one of
// 256 patterns: the 227 of |p|² <= 10, and of the 56 with five 3/2 and three 1/2 (|p|² = 12) the 29 that
// the authors' code has. Seven signs are free; the eighth makes the sum even.
//
// A point's word: bit i the sign of coordinate i for i < 7 (1: below 0), bit 7 the shift (1: -1/4), bits 8
// to 15 the pattern. Deviation: the authors' words are in the order of their GPU kernel.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::quant {

inline constexpr std::int64_t kE8pColumns = 8;
using E8pPoint = std::array<real, kE8pColumns>;

/// Exact: quarters of at most 11/4.
E8pPoint e8p_point(std::uint16_t word);

/// The word of the point with the least Euclidean distance to v, which is finite; exact up to the rounding of
/// the two distances that are compared. Of every pattern the best signs are known: those of v, and where
/// their number has the wrong parity the least costly one turned.
std::uint16_t e8p_nearest(const E8pPoint& v);

}  // namespace notch::quant
