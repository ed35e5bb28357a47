// Targets and codes that a caller has put together: of a plan and of rounding they are whole.
#pragma once

#include <span>
#include <string_view>

#include "nn/model.h"
#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"

namespace notch::quant {

/// Whether the matrices of targets have values, or may be a packed model's.
enum class Weights : bool { of_shape, with_values };

/// Usage error for targets that are none of the model's matrices, or there twice.
void require_targets(nn::Model& model, std::span<const Target> targets, Weights weights);

/// Usage error for targets of a step that are not there, or whose matrices read no input of so many channels.
void require_readers(std::span<const Target* const> targets, std::int64_t in_features,
                     std::string_view where);

/// The target's codes. Usage error, saying whose they are to be, where there are none, or of another shape.
const NamedQTensor& codes_of(const Quantized& codes, const Target& target, std::string_view whose);

}  // namespace notch::quant
