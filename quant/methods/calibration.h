// Calibration: static input ranges from text.
//
// Text comes from the training split, never from what a model is evaluated on.
#pragma once

#include <span>
#include <string_view>

#include "nn/model.h"
#include "quant/methods/plan.h"
#include "quant/numbers/observers.h"

namespace notch::quant {

/// Whether a target's input range has to be found on calibration text.
bool needs_calibration(const Target& target);

/// Sets the ranges of all static inputs of `targets`, running the model as it is on `calibration`.
/// Usage error when there is no text for them, numeric when an activation is not finite.
void calibrate(nn::Model& model, std::span<Target> targets,
               std::span<const nn::Tokens> calibration);

/// Scale and zero point of what was observed of the layer's input. Usage error when nothing was.
UnitScale input_range(const ActivationSpec& spec, const Observer& observer, std::string_view layer);

}  // namespace notch::quant
