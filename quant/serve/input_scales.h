// Inputs that are multiplied, channel by channel, before their layer sees them: what a method that
// moved scales into weights leaves where nothing before the layer could absorb them.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "nn/model.h"
#include "quant/numbers/named_qtensor.h"

namespace notch::quant {

/// Attach it before the links that multiply (it is then the outermost): they get the products.
class InputScales {
 public:
  /// `multiply`, by the parameters of the layers [in_features each]. The model must outlive this.
  InputScales(nn::Model& model, std::map<const Param*, std::vector<real>> multiply);
  InputScales(const InputScales&) = delete;  // the link refers to this object
  InputScales& operator=(const InputScales&) = delete;

 private:
  std::map<const Param*, InputMap> maps_;
  nn::Attachment linear_;
};

}  // namespace notch::quant
