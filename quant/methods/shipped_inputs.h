// The inputs of a quantized model as they ship, while it is still one in floating point.
#pragma once

#include <map>

#include "quant/methods/method.h"
#include "quant/ops/changed_input.h"

namespace notch::quant {

/// Linears of the model get the inputs that `quantized` says, rounded and with side products, inside of
/// a loss too, as long as this lives.
class ShippedInputs {
 public:
  ShippedInputs(nn::Model& model, std::span<const Target> targets, const Quantized& quantized);
  ShippedInputs(const ShippedInputs&) = delete;  // the links refer to this object
  ShippedInputs& operator=(const ShippedInputs&) = delete;

 private:
  std::map<const nn::Linear*, RunnableChange> changes_;
  nn::Attachment linear_, loss_;
};

}  // namespace notch::quant
