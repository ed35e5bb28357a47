// A model packed in memory, without a file: what benches run.
#pragma once

#include "quant/methods/plan.h"
#include "quant/serve/served_layers.h"

namespace notch::quant {

/// A copy of `model` with the matrices of `plan` rounded to nearest (absmax) and packed. Ranges of
/// activations, where it has any, must be dynamic.
RunnableModel pack_weights(nn::Model& model, const Plan& plan);

}  // namespace notch::quant
