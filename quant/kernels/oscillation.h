// Oscillating weights: how often a weight's code goes back and forth, and what stops it.
//
// A weight near a rounding boundary is pushed back by the straight-through gradient as soon as it
// has crossed, and crosses again (Nagel et al. 2022, arXiv:2203.11086). Codes here are levels,
// ŵ/s, so a moving zero point does not count as a move. Units, scales and zero points as
// in round.h. Serial, vectorised, same bits for every instruction set.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

inline constexpr real kNotFrozen = 1000;  ///< no code

/// What is remembered of each weight; all of one size, the last two empty where nothing is frozen.
struct OscillationState {
  std::span<real> code{};       ///< at the last observation
  std::span<real> direction{};  ///< of the last move: -1 or 1; 0 before the first
  std::span<real> frequency{};  ///< moving average of "moved against the last move"
  std::span<real> mean{};       ///< moving average of the code
  std::span<real> frozen{};     ///< the code a weight is held at, or kNotFrozen
};

/// One observation of weights [units · unit], after an update (section 4.2 of the paper):
///   o = [the code moved] · [against the last move]      f <- f + m (o - f)
///   mean <- mean + m (code - mean)
///   f > threshold: frozen at the code nearest to the mean, once and for all
/// and frozen weights are put back: w = frozen · s, so they still follow their scale.
void observe_oscillation(const OscillationState& state, std::span<real> w, const Units& units,
                         const Grid& grid, double momentum, double threshold);

/// dw += factor · 2 (w - ŵ) inside [lowest - reach, highest + reach], nothing outside: the gradient
/// of factor · ‖ŵ - clip(w)‖² with ŵ constant, which draws weights to their levels (dampening,
/// section 4.1 of the paper).
void dampen_backward(std::span<real> dw, std::span<const real> w, const Units& units,
                     const Grid& grid, double factor);

/// w -= share · (w - ŵ) for all weights, also those outside the range: no code changes.
void draw_to_levels(std::span<real> w, const Units& units, const Grid& grid, double share);

}  // namespace notch::quant
