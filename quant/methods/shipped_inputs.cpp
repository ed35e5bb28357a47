#include "quant/methods/shipped_inputs.h"

#include "autograd/base/error.h"

namespace notch::quant {

ShippedInputs::ShippedInputs(nn::Model& model, std::span<const Target> targets,
                             const Quantized& quantized) {
  check(quantized.tensors.size() == targets.size(), "shipped inputs", targets.size(),
        " targets with the codes of ", quantized.tensors.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const NamedQTensor& tensor = quantized.tensors[i];
    check(tensor.change.empty(), tensor.name, "its input is changed, not only rounded");
    if (targets[i].linear && tensor.input)
      inputs_.emplace(targets[i].linear, InputMap{.round = tensor.input});
  }
  const auto shipped = [this](const nn::Linear& linear, Var x) {
    const auto at = inputs_.find(&linear);
    return at == inputs_.end() ? x : apply(x, at->second);
  };
  linear_ = model.hooks().linear_chain.attach(
      [shipped](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        return next(g, linear, shipped(linear, x));
      });
  loss_ = model.hooks().loss_chain.attach(
      [shipped](Graph& g, const nn::Linear& head, Var x, const nn::LossTargets& wanted,
                const auto& next) -> Var { return next(g, head, shipped(head, x), wanted); });
}

}  // namespace notch::quant
