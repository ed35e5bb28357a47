// Learned levels: the numbers that stand for given numbers with the least squared error, of one unit of
// weights or of any others.
//
// One-dimensional k-means has a best solution that can be found: clusters of sorted numbers are intervals,
// and the best end of the last but one moves up as the numbers do (Wang and Song 2011, "Ckmeans.1d.dp").
// Deviation from SqueezeLLM (Kim et al. 2023, arXiv:2306.07629), which runs Lloyd's algorithm from random
// levels: this is the minimum that Lloyd's steps look for, without a start to depend on.
#pragma once

#include <span>
#include <vector>

#include "autograd/base/real.h"

namespace notch::quant {

/// Intervals end at one of so many numbers, evenly spread, where there are more.
inline constexpr std::size_t kMostEnds = 65536;

/// `count` ascending levels l with the least Σ wᵢ min_l (xᵢ - l)². x ascends and is finite, no weight is
/// negative; empty weights: all 1. Fewer different numbers than levels leave levels twice. O(count · n log n).
std::vector<double> best_levels(std::span<const double> x, std::span<const double> weights,
                                int count);

}  // namespace notch::quant
