// The inputs of a quantized model as they ship, while it is still one in floating point.
#pragma once

#include <map>

#include "quant/methods/method.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {

/// Linears of the model get the inputs that `quantized` says, rounded, inside of a loss too, as long as
/// this lives. Inputs that a method changed are not for it (check): whoever learns codes changes none.
class ShippedInputs {
 public:
  ShippedInputs(nn::Model& model, std::span<const Target> targets, const Quantized& quantized);
  ShippedInputs(const ShippedInputs&) = delete;  // the links refer to this object
  ShippedInputs& operator=(const ShippedInputs&) = delete;

 private:
  std::map<const nn::Linear*, InputMap> inputs_;
  nn::Attachment linear_, loss_;
};

}  // namespace notch::quant
