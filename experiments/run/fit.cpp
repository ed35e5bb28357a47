#include "experiments/run/fit.h"

#include <optional>

#include "autograd/base/printable.h"
#include "experiments/machine/machine.h"
#include "experiments/run/compare.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/signals.h"
#include "experiments/run/step_split.h"

namespace notch::experiments {

bool fit(const RunContext& run, std::int64_t seed, const TrainSettings& settings, TrainParts parts,
         RowResult& row) {
  const std::string label = training_name(seed, settings.phase);
  const Metrics& metrics = run.dir.metrics();
  const data::TokenData& text = run.data.source.tokens;
  parts.tokens = text.train;
  parts.checkpoints = run.dir.checkpoints(seed) / settings.phase;
  parts.build = build_text();
  Profile profile;
  if (run.profile) parts.profile = &profile;

  TrainingPhase phase(settings, parts);
  for (const nn::DamagedCheckpoint& d : phase.resume()) {
    run.progress.note(str("warning: ", printable(d.path.string()), " is passed over: ", d.reason));
  }
  const auto steps = static_cast<int>(phase.steps()), resumed = static_cast<int>(phase.done());
  const bool told = metrics.resume(label, resumed);
  run.progress.begin(label, steps, resumed, static_cast<int>(settings.log_every));
  if (resumed > 0) run.progress.note(str(label, ": resumed at step ", resumed));
  if (!told && settings.log_every > 0 && resumed >= settings.log_every) {
    run.progress.note(str("warning: ", printable((run.dir.path() / kMetricsFile).string()),
                          " has no line of ", label, ": its curve begins at step ", resumed));
  }

  while (phase.done() < phase.steps()) {
    if (stop_requested()) {
      phase.save();
      break;
    }
    const UpdateReport update = phase.step();
    if (phase.due(settings.log_every)) {
      Json line = Json::object();
      line.set("loss", update.loss).set("lr", update.lr).set("grad_norm", update.grad_norm);
      metrics.append(label, update.step, line);
    }
    if (phase.due(settings.remark_every)) {
      if (const Json said = phase.remarks(); !said.is_null())
        metrics.append(label, update.step, said);
    }
    std::optional<double> val;
    if (phase.due(settings.eval_every)) {
      std::optional<optim::EmaWeights> averages;
      if (phase.ema()) averages.emplace(*phase.ema());
      val = evaluate(parts.model, text.val, text.val_bytes_per_token, nullptr,
                     {.windows = run.config.train.eval_windows})
                .loss;
      Json line = Json::object();
      line.set("val_loss", *val);
      metrics.append(label, update.step, line);
    }
    run.progress.report({.step = static_cast<int>(update.step),
                         .loss = update.loss,
                         .val = val,
                         .lr = update.lr,
                         .gnorm = update.grad_norm,
                         .tokens = update.tokens});
    if (phase.due(settings.checkpoint_every)) phase.save();
  }

  const bool finished = phase.done() == phase.steps();
  const double seconds = phase.seconds();
  if (finished && phase.ema()) phase.ema()->take();
  row.seconds += seconds;
  if (phase.build() != parts.build) row.build = phase.build();
  run.progress.end(finished ? str(label, ": ", steps, " steps in ", format_duration(seconds))
                            : str(label, ": stopped at step ", phase.done()));
  if (profile.steps() > 0) {
    const StepSplit split = step_split(profile);
    run.progress.note(str(label, ": ", describe(split), '\n',
                          render(split_table({{.split = split}}), TableFormat::screen)));
  }
  return finished;
}

}  // namespace notch::experiments
