// Scales that move: what is before a product absorbs what its input's channels are divided by.
#pragma once

#include <span>

#include "nn/model.h"

namespace notch::quant {

/// The columns of a step's linears, channel j times s_j.
void multiply_columns(const nn::Step& step, std::span<const real> s);

/// Divides the step's input by s: in its norm, or, unless `source_is_settled`, in the rows of the linear
/// that reach the input one to one, with their biases. False where neither can: then the input itself has to be
/// divided when it runs.
bool divide_before(const nn::Step& step, std::span<const real> s, bool source_is_settled);

}  // namespace notch::quant
