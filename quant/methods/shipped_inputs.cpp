#include "quant/methods/shipped_inputs.h"

#include "autograd/ops.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {

ShippedInputs::ShippedInputs(nn::Model& model, std::span<const Target> targets,
                             const Quantized& quantized) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Target& t = targets[i];
    const NamedQTensor& tensor = quantized.tensors[i];
    if (!t.linear || (tensor.change.empty() && !tensor.input)) continue;
    RunnableChange& change =
        changes_.emplace(t.linear, RunnableChange(tensor.change, t.weight->value.cols()))
            .first->second;
    change.map.round = tensor.input;
  }
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = changes_.find(&linear);
        if (at == changes_.end()) return next(g, linear, x);
        const std::optional<Var> side = side_product(x, at->second);
        const Var y = next(g, linear, apply(x, at->second.map));
        return side ? add(y, *side) : y;
      });
  loss_ = model.hooks().loss_chain.attach([this](Graph& g, const nn::Linear& head, Var x,
                                                 const nn::LossTargets& wanted,
                                                 const auto& next) -> Var {
    const auto at = changes_.find(&head);
    return next(g, head, at == changes_.end() ? x : apply(x, at->second.map), wanted);
  });
}

}  // namespace notch::quant
