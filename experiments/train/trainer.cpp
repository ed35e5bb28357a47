#include "experiments/train/trainer.h"

#include <optional>

#include "experiments/train/training_phase.h"

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
    if (listener.on_remark && due(report.step, settings.remark_every, steps)) {
      if (const Json said = phase.remarks(); !said.is_null()) listener.on_remark(report.step, said);
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
  if (phase.ema()) phase.ema()->take();
  return outcome;
}

}  // namespace notch::experiments
