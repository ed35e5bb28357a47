#include "quant/serve/input_changes.h"

#include "autograd/ops.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {

InputChanges::InputChanges(nn::Model& model, const std::map<const Param*, InputChange>& changes) {
  for (const auto& [param, change] : changes)
    changes_.emplace(param, RunnableChange(change, param->value.cols()));
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = changes_.find(linear.weight);
        if (at == changes_.end()) return next(g, linear, x);
        const std::optional<Var> side = side_product(x, at->second);
        const Var y = next(g, linear, apply(x, at->second.map));
        return side ? add(y, *side) : y;
      });
}

}  // namespace notch::quant
