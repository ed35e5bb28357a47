// Weights between codes: a mixture of the levels of three neighbouring codes, for methods that learn
// which of them to take.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/graph.h"

namespace notch::quant {

inline constexpr std::int64_t kNeighbours = 3;

/// What does not change while the mixture is learned. The memory must outlive the step.
struct SoftCodes {
  std::int64_t rows = 0, cols = 0;
  std::int64_t unit = 0;           ///< weights that share a scale
  std::span<const real> levels{};  ///< [rows · cols, 3], each weight's three
  std::span<const real> scales{};  ///< [units], as they are at log_scales = 0
};

/// w [rows, cols] = exp(c_u) s_u Σ_k p_k level_k,  p = softmax(logits / temperature) over the three,
/// with logits [rows · cols, 3] and c = log_scales [units]. Gradients are those of this function.
Var soft_codes(Var logits, Var log_scales, const SoftCodes& codes, double temperature);

}  // namespace notch::quant
