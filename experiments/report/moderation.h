// Moderation: with few seeds, what the seeds' spread of one difference is can hardly be told, but the
// differences of one width are many and alike.
//
// Of p differences with seeds' variances s_p^2, each of d degrees of freedom, taken to be σ_p^2 with
//   1/σ_p^2 ~ χ²(d0) / (d0 s0^2 c_p),
// the posterior's (d0 s0^2 c_p + d s_p^2) / (d0 + d) has d0 + d degrees of freedom under a difference of
// zero. d0 and s0 are what mean and variance of log(s_p^2 / c_p) say.
// Source: Smyth 2004, "Linear models and empirical Bayes methods for assessing differential
// expression in microarray experiments", Stat. Appl. Genet. Mol. Biol. 3(1), sections 3, 6.2.
// Deviations: c_p, the scale on which differences are alike (there all 1); d0 + d is held to what the
// rows can know together, (rows - 1) d, because differences that share a row are not independent.
#pragma once

#include <cstdint>
#include <span>

#include "experiments/run/window_error.h"

namespace notch::experiments {

struct SpreadPrior {
  double variance = 0;  ///< s0^2
  double df = 0;        ///< d0, infinite where all spreads are alike
};

/// From positive variances of `df` degrees of freedom each. df = 0 of fewer than three.
SpreadPrior spread_prior(std::span<const double> variances, double df);

/// Replaces the seeds' parts of differences between `rows` rows; `scales` c_p > 0. A part that is zero or
/// not finite says nothing about the others; a prior of no degrees of freedom leaves all as they are.
void moderate(std::span<ErrorPart> seeds, std::span<const double> scales, std::int64_t rows);

}  // namespace notch::experiments
