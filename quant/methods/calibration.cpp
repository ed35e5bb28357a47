#include "quant/methods/calibration.h"

#include <map>

#include "quant/methods/targets.h"

namespace notch::quant {

bool needs_calibration(const Target& target) {
  return target.input && target.input->spec.range == ActivationRange::fixed;
}

UnitScale input_range(const ActivationSpec& spec, const Observer& observer,
                      std::string_view layer) {
  check(observer.count() > 0, layer, "a static input range needs calibration text and got none");
  return scale_range(observer.range(), unit_spec(spec), 1);
}

void calibrate(nn::Model& model, std::span<Target> targets,
               std::span<const nn::Tokens> calibration) {
  require_targets(model, targets, Weights::of_shape);
  std::map<const nn::Linear*, Observer> observers;
  for (const Target& t : targets) {
    check(!t.input || t.linear, t.name, "an input of no layer has no range");
    if (needs_calibration(t)) observers.emplace(t.linear, Observer(t.input->spec));
  }
  if (observers.empty()) return;
  const nn::Attachment link = model.hooks().linear_chain.attach(
      [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
        const auto at = observers.find(&linear);
        if (at != observers.end()) at->second.observe(x.value().flat());
        return next(g, linear, x);
      });
  Graph g;
  for (const nn::Tokens& tokens : calibration) {
    g.begin(Graph::Mode::inference);
    model.logits(g, tokens);
  }
  for (Target& t : targets) {
    if (needs_calibration(t)) {
      t.input->at = input_range(t.input->spec, observers.at(t.linear), t.name);
    }
  }
}

}  // namespace notch::quant
