// Calibration: static input ranges from text.
//
// Text comes from the training split, never from what a model is evaluated on.
#pragma once

#include <map>
#include <span>

#include "nn/model.h"
#include "quant/methods/plan.h"
#include "quant/numbers/observers.h"

namespace notch::quant {

/// Whether a target's input range has to be found on calibration text.
bool needs_calibration(const Target& target);

/// Sets the ranges of all static inputs of `targets`, running the model as it is on `calibration`.
/// Usage error when there is no text for them, numeric when an activation is not finite.
void calibrate(nn::ModelView& model, std::span<Target> targets,
               std::span<const nn::Tokens> calibration);

/// Observers of the inputs of some layers, for as long as this lives.
class InputObservers {
 public:
  explicit InputObservers(nn::ModelView& model) : model_(model) {}
  InputObservers(const InputObservers&) = delete;  // the link refers to this object
  InputObservers& operator=(const InputObservers&) = delete;

  void add(const Target& target);
  bool empty() const { return observers_.empty(); }
  /// From here on every product of an added layer is observed.
  void attach();
  /// Scale and zero point of what was observed. Usage error when nothing was.
  UnitScale range_of(const Target& target) const;

 private:
  struct Observed {
    ActivationSpec spec{};
    Observer observer;
  };
  nn::ModelView& model_;
  std::map<const nn::Linear*, Observed> observers_;
  nn::Attachment attachment_;
};

}  // namespace notch::quant
