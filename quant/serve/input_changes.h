// What a method that moved scales, rotated, or split its inputs left to be done when a layer runs.
#pragma once

#include <map>

#include "nn/model.h"
#include "quant/ops/changed_input.h"

namespace notch::quant {

/// Attach it before the links that multiply (it is then the outermost): they get the changed inputs.
class InputChanges {
 public:
  /// Attaches changes, by the parameters of their layers. The model must outlive this.
  InputChanges(nn::Model& model, const std::map<const Param*, InputChange>& changes);
  InputChanges(const InputChanges&) = delete;  // the link refers to this object
  InputChanges& operator=(const InputChanges&) = delete;

 private:
  std::map<const Param*, RunnableChange> changes_;
  nn::Attachment linear_;
};

}  // namespace notch::quant
