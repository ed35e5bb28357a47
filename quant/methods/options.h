// The options of the methods that round after training.
#pragma once

#include "quant/methods/gptq.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {

struct PostTrainingOptions {
  GptqOptions gptq{};
  bool true_sequential = false;  ///< layer after layer inside a block, not block after block
  double percentile = kWeightPercentile;  ///< of rtn-percentile
};

}  // namespace notch::quant
