// What rounding a layer's inputs would gain on this machine.
#pragma once

#include "quant/numbers/qtensor.h"

namespace notch::experiments {

/// Time of a product with inputs in floating point over that with inputs of 8 bits.
struct InputSpeed {
  double prompt = 1;  ///< 64 tokens
  double decode = 1;  ///< one token
};

/// Measured on one matrix, in about a tenth of a second. Usage error for a codebook, whose inputs are
/// not rounded.
InputSpeed rounded_input_speed(const quant::QTensor& q);

}  // namespace notch::experiments
