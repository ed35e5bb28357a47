// A quantized weight with the name of its parameter: what every method's result is made of.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quant/numbers/activation.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// A quantized weight of a model, by the name of its parameter ("h.0.attn.c_attn.weight"), and what
/// its layer multiplies it with: codes if `input` is there, floats otherwise.
struct NamedQTensor {
  std::string name{};
  QTensor q{};
  std::optional<InputQuantizer> input{};
  /// What the input is multiplied by first, channel by channel [cols]; empty: by 1.
  std::vector<real> multiply{};
};

}  // namespace notch::quant
