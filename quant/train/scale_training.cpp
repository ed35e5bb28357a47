#include "quant/train/scale_training.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "quant/methods/targets.h"
#include "quant/numbers/find_named.h"
#include "quant/ops/scaled_codes.h"

namespace notch::quant {

ScaleTraining::ScaleTraining(nn::Model& model, std::span<const Target> targets,
                             const Quantized& codes, const QatOptions& options)
    : first_(codes), pact_decay_(options.pact_decay) {
  require_targets(model, targets, Weights::of_shape);
  for (const Target& t : targets) {
    const NamedQTensor* const at = &codes_of(first_, t, "what training begins with");
    check(at->change.empty(), t.name, "a layer whose input was changed is not trained");
    Node& node = nodes_[t.weight];
    node.index = static_cast<std::size_t>(at - first_.tensors.data());
    node.log_scales = &params_.add(t.weight->name + ".log_scale", {std::ssize(at->q.at.scales)});
  }
  params_.allocate_values();  // zeros: the first scales
  const InputLearning inputs =
      options.inputs == InputLearning::method ? InputLearning::fixed : options.inputs;
  inputs_.emplace(model, targets, inputs, options.ste, options.backward, params_);
  attachment_ =
      model.hooks().weight_chain.attach([this](Graph& g, Param& p, const auto& next) -> Var {
        const auto at = nodes_.find(&p);
        if (at == nodes_.end()) return next(g, p);
        const QTensor& q = first_.tensors[at->second.index].q;
        const std::optional<PackedWeights> integers = inputs_->packed(g, p);
        return scaled_codes(g.param(*at->second.log_scales),
                            {.spec = q.spec,
                             .rows = q.rows,
                             .cols = q.cols,
                             .codes = q.codes,
                             .scales = q.at.scales,
                             .zero_points = q.at.zero_points},
                            integers ? &*integers : nullptr);
      });
}

std::vector<nn::NamedValues> ScaleTraining::state() {
  std::vector<nn::NamedValues> all;
  inputs_->add_state(all);
  return all;
}

void ScaleTraining::before_update(double r) {
  nn::require_share(r);
  inputs_->add_decay(pact_decay_);
}

Quantized ScaleTraining::convert() const {
  Quantized out = first_;
  for (const auto& [weight, node] : nodes_) {
    NamedQTensor& t = out.tensors[node.index];
    for (std::size_t u = 0; u < t.q.at.scales.size(); ++u)
      t.q.at.scales[u] = lsq_step(t.q.at.scales[u], node.log_scales->value.data[u], t.q.spec.scale);
    t.input = inputs_->input_of(*weight);
  }
  return out;
}

}  // namespace notch::quant
