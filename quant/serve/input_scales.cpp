#include "quant/serve/input_scales.h"

#include <utility>

#include "quant/ops/input_ops.h"

namespace notch::quant {

InputScales::InputScales(nn::Model& model, std::map<const Param*, std::vector<real>> multiply) {
  for (auto& [param, values] : multiply) maps_[param].multiply = std::move(values);
  linear_ = model.hooks().linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
        const auto at = maps_.find(linear.weight);
        return next(g, linear, at == maps_.end() ? x : apply(x, at->second));
      });
}

}  // namespace notch::quant
