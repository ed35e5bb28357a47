// One matrix pruned and rounded: the step of every walk over a model.
#pragma once

#include <optional>

#include "quant/methods/gptq.h"
#include "quant/methods/method.h"
#include "quant/methods/options.h"
#include "quant/methods/prune.h"

namespace notch::quant {

struct RoundedMatrix {
  QTensor codes{};  ///< none of a method that does not round
  std::optional<SideProduct> side{};
  LayerReport report{};
  Keep keep{};  ///< empty: nothing is pruned
};

/// Chooses what `pruner` takes (null: nothing) and the codes of the rest, and puts their values into
/// the parameter. H: the second moments of the input, null without.
RoundedMatrix round_matrix(const Target& target, const Hessian* H, const Method& method,
                           const Pruner* pruner, const PostTrainingOptions& options);

}  // namespace notch::quant
