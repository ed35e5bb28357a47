#include "quant/train/quantized_training.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "quant/methods/prune.h"
#include "quant/methods/targets.h"
#include "quant/numbers/own_levels.h"

namespace notch::quant {

QuantizedTraining::QuantizedTraining(nn::Model& model, const Method& method,
                                     std::span<const Target> targets,
                                     const TrainingOptions& options, const Quantized* start)
    : model_(model), training_(method.training) {
  if (method.trains_weights()) {
    fake_.emplace(model, training_, targets, options.qat, start);
    return;
  }
  check(start != nullptr, method.name, "trains beside codes and got none");
  if (training_ == Training::scales) {
    scales_.emplace(model, targets, *start, options.qat);
  } else {
    adapters_.emplace(model, targets, *start, options.qlora, options.seed);
  }
}

void QuantizedTraining::hold(std::span<const Target> targets, std::span<const NamedMask> masks,
                             const std::optional<PruneOptions>& growing) {
  require_targets(model_, targets, Weights::of_shape);
  for (const NamedMask& mask : masks) {
    const auto target = std::ranges::find(
        targets, mask.name, [](const Target& t) -> const std::string& { return t.weight->name; });
    if (target != targets.end()) require_zero(target->spec, target->name);
  }
  check(training_ != Training::gaussian, "prune", "weights that are rotated have no zeros to hold");
  if (fake_) {
    mask_.emplace(model_, masks, growing);
    return;
  }
  check(!growing, "prune", "codes that stay cannot be pruned in rounds");
  held_.assign(masks.begin(), masks.end());
}

void QuantizedTraining::watch() {
  if (!fake_) return;
  // Figures are of steps and of the distance to the next one.
  for (std::size_t i = 0; i < fake_->size(); ++i)
    if (has_own_levels(fake_->target(i).spec)) return;
  diagnostics_.emplace(*fake_);
}

std::vector<nn::Addition*> QuantizedTraining::additions() {
  std::vector<nn::Addition*> all;
  const auto add = [&](auto& addition) {
    if (addition) all.push_back(&*addition);
  };
  add(mask_);
  add(fake_);
  add(scales_);
  add(adapters_);
  add(diagnostics_);
  return all;
}

Quantized QuantizedTraining::convert() {
  Quantized out = fake_     ? fake_->convert()
                  : scales_ ? scales_->convert()
                            : std::as_const(*adapters_).convert();
  if (mask_) out.masks = mask_->masks();
  if (!held_.empty()) out.masks = held_;
  return out;
}

}  // namespace notch::quant
