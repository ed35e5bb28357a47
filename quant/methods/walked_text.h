// WalkedText: calibration text where the walk stands (quant/methods/post_training.h), and what it says
// of the inputs of the steps that come next.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "nn/model.h"
#include "quant/methods/changed_inputs.h"
#include "quant/methods/gptq.h"
#include "quant/methods/plan.h"
#include "quant/methods/text_states.h"

namespace notch::quant {

using Group = TextStates::Group;
using Moments = std::map<const nn::Linear*, Hessian>;

/// The target whose matrix the linear multiplies; null: none.
const Target* target_of(std::span<const Target> targets, const nn::Linear& linear);
/// Those of a group of steps, in the order in which they run.
std::vector<const Target*> targets_of(std::span<const Target> targets, Group group);

class WalkedText {
 public:
  /// `inputs`: as the model ships so far; kept by reference.
  WalkedText(std::span<const Target> targets, ChangedInputs& inputs)
      : targets_(targets), inputs_(inputs) {}
  WalkedText(const WalkedText&) = delete;  // its functions know where it is

  /// Walks beside it through the model as it is now, step by step before anything there is rounded.
  void begin_reference(nn::Model& model, std::span<const nn::Tokens> text) {
    reference_ = TextStates(model, text);
  }
  void begin(nn::Model& model, std::span<const nn::Tokens> text) {
    states_ = TextStates(model, text);
  }

  /// What `kept` asks of the inputs of the group's targets as they are before they are rounded: a
  /// transform changes these. Reads nothing where nothing is asked.
  Moments unrounded(Group group, const KeptInputs& kept);
  /// Finds the static ranges of the group's inputs where targets need the text for them.
  void find_ranges(Group group);
  /// The second moments of the group's inputs as they ship, where `drifts` beside what the reference
  /// multiplies, which then stands behind the group. Linears without a target have none.
  Moments moments(Group group, bool drifts);
  /// Goes on behind the group, through the model as it ships.
  void advance(Group group);

 private:
  void visit(Group group, std::size_t batch, const TextStates::Input& input,
             const TextStates::Seen& seen);
  Moments none_yet(Group group, const KeptInputs& kept) const;

  std::span<const Target> targets_;
  ChangedInputs& inputs_;
  TextStates states_{}, reference_{};
  const TextStates::Input in_floats_ = [](const nn::Linear&, Var x) { return x; };
  const TextStates::Input shipped_ = [this](const nn::Linear& l, Var x) {
    return inputs_.shipped(l, x);
  };
  const TextStates::Beside beside_ = [this](const nn::Linear& l, Var x) {
    return inputs_.beside(l, x);
  };
};

}  // namespace notch::quant
