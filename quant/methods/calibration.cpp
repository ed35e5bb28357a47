#include "quant/methods/calibration.h"

namespace notch::quant {

bool needs_calibration(const Target& target) {
  return target.input && target.input->spec.range == ActivationRange::fixed;
}

void InputObservers::add(const Target& target) {
  observers_.emplace(target.linear, Observed{target.input->spec, Observer(target.input->spec)});
}

void InputObservers::attach() {
  attachment_ = model_.hooks->linear_chain.attach(
      [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        const auto at = observers_.find(&linear);
        if (at != observers_.end()) at->second.observer.observe(x.value().flat());
        return next(g, linear, x);
      });
}

UnitScale InputObservers::range_of(const Target& target) const {
  const auto& [spec, observer] = observers_.at(target.linear);
  check(observer.count() > 0, target.name,
        "a static input range needs calibration text and got none");
  return scale_range(observer.range(), unit_spec(spec), 1);
}

void calibrate(nn::ModelView& model, std::span<Target> targets,
               std::span<const nn::Tokens> calibration) {
  InputObservers observers(model);
  for (const Target& t : targets) {
    if (needs_calibration(t)) observers.add(t);
  }
  if (observers.empty()) return;
  observers.attach();
  Graph g;
  for (const nn::Tokens& tokens : calibration) {
    g.begin(Graph::Mode::inference);
    model.logits(g, tokens);
  }
  for (Target& t : targets) {
    if (needs_calibration(t)) t.input->at = observers.range_of(t);
  }
}

}  // namespace notch::quant
