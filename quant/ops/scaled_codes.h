// Codes that stay, on scales that are learned.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/graph.h"
#include "quant/kernels/integer_linear.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// What does not change while scales are learned. The memory must outlive the step.
struct FixedCodes {
  Spec spec{};
  std::int64_t rows = 0, cols = 0;
  std::span<const std::int8_t> codes{};        ///< [rows, cols]
  std::span<const real> scales{};              ///< [units], as they are at log_scales = 0
  std::span<const std::int8_t> zero_points{};  ///< [units], or nothing
};

/// ŵ [rows, cols] = level(q - z) s,  s = lsq_step(scales, log_scales) (quant/ops/fake_quant.h), with
/// log_scales [units]. dlog_u = s_u Σ level dŵ over the unit: the codes do not depend on the scale. `packed`,
/// unless null, is filled with the integers on their present scales.
Var scaled_codes(Var log_scales, const FixedCodes& codes, const PackedWeights* packed = nullptr);

}  // namespace notch::quant
