// Rounding with an offset that is learned: which way a weight goes.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/graph.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// What does not change while offsets are learned. The memory must outlive the step.
struct OffsetCodes {
  Spec spec{};  ///< of integers, every one of them
  std::int64_t rows = 0, cols = 0;
  std::span<const real> w{};                  ///< [rows, cols]
  std::span<const real> scales{};             ///< [units], as they are at factors = 1
  std::span<const std::int8_t> zero_points{};  ///< [units], or nothing
};

/// ŵ [rows, cols] = s q̄,  q̄ = round(clamp(w/s + V, qmin - z, qmax - z)),  s = round_scale(s₀ a) with
/// offsets V [rows, cols] and factors a [units]. Gradients are straight-through: with dq̄ = dV - w/s² ds
/// inside of the clamp, dV gets s dŵ there, a gets Σ s₀ (q̄ - w/s) dŵ, and s₀ q̄ dŵ outside.
Var offset_round(Var offsets, Var factors, const OffsetCodes& codes);

/// The codes of that.
void offset_codes(std::span<std::int8_t> out, std::span<const real> offsets,
                  std::span<const real> factors, const OffsetCodes& codes);

}  // namespace notch::quant
