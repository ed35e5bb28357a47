// Products beside codes, merged into integers: the end of a row of qlora that asks for it.
#pragma once

#include <functional>

#include "experiments/run/setup.h"

namespace notch::experiments {

struct MergedProducts {
  quant::Quantized quantized{};  ///< integers alone
  double cost = 0;               ///< what they add to the loss on the validation split
};

/// The matrices that have a product get the codes that `round` gives to ŵ + up down; others keep theirs.
/// `round` rounds all of a model. `trained` is the model that made `products`, with what it trained
/// attached, `fp32` the one that was quantized.
MergedProducts merge_products(const ExperimentConfig& config, const Data& data,
                              nn::Model& trained, const nn::Model& fp32,
                              const quant::Quantized& products,
                              const std::function<quant::Quantized(nn::Model&)>& round);

}  // namespace notch::experiments
