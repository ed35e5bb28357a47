#include "experiments/run/trainer.h"

#include <algorithm>
#include <string_view>

#include "experiments/run/training_phase.h"

namespace notch::experiments {
namespace {

bool due(std::int64_t step, std::int64_t every, std::int64_t steps) {
  return step == steps || (every > 0 && step % every == 0);
}

}  // namespace

TrainOutcome train(const TrainSettings& settings, const TrainParts& parts,
                   const TrainListener& listener) {
  TrainingPhase phase(settings, parts);
  if (phase.resume(listener) && listener.on_resume) listener.on_resume(phase.done());
  if (listener.on_start) listener.on_start();
  const std::int64_t steps = phase.steps();
  while (phase.done() < steps) {
    if (listener.stop_requested && listener.stop_requested()) {
      phase.save();
      return {false, phase.done(), phase.seconds(), phase.loss(), phase.build()};
    }
    const UpdateReport report = phase.step();
    if (listener.on_log && due(report.step, settings.log_every, steps)) listener.on_log(report);
    if (parts.diagnostics) {
      parts.diagnostics->observe();
      if (listener.on_diagnosis && due(report.step, settings.diagnose_every, steps)) {
        listener.on_diagnosis(report.step, phase.diagnose());
      }
    }
    if (listener.on_eval && due(report.step, settings.eval_every, steps)) {
      std::optional<optim::EmaWeights> averages;
      if (phase.ema()) averages.emplace(*phase.ema());
      listener.on_eval(report.step);
    }
    if (listener.on_step) listener.on_step(report);
    if (due(report.step, settings.checkpoint_every, steps)) phase.save();
  }
  const TrainOutcome outcome{true, phase.done(), phase.seconds(), phase.loss(), phase.build()};
  if (phase.ema()) {
    for (const optim::StateTensor& t : phase.ema()->state()) {
      const std::string_view name =
          std::string_view(t.name).substr(std::string_view("ema.").size());
      Param* p = parts.model.params().find(name);
      if (!p) p = parts.fake->params().find(name);
      std::ranges::copy(t.tensor.flat(), p->value.data);
    }
  }
  return outcome;
}

}  // namespace notch::experiments
