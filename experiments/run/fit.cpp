#include "experiments/run/fit.h"

#include <optional>
#include <utility>

#include "experiments/machine/machine.h"
#include "experiments/run/compare.h"
#include "experiments/run/evaluate.h"
#include "experiments/run/signals.h"
#include "experiments/run/step_split.h"

namespace notch::experiments {

bool fit(const RunContext& run, std::int64_t seed, const TrainSettings& settings, TrainParts parts,
         RowResult& row) {
  const std::string label = str("seed-", seed, "/", settings.phase);
  const auto steps = static_cast<int>(settings.last_step() - settings.first_step);
  const auto every = static_cast<int>(settings.log_every);
  parts.tokens = run.data.source.tokens.train;
  parts.checkpoints = run.dir.checkpoints(seed) / settings.phase;
  parts.build = build_text();
  std::optional<double> val;
  int resumed = 0;
  TrainListener listener;
  listener.on_damaged = [&](const std::string& checkpoint, const std::string& reason) {
    run.progress.note(str("warning: ", checkpoint, " is passed over: ", reason));
  };
  listener.on_resume = [&](std::int64_t step) { resumed = static_cast<int>(step); };
  listener.on_start = [&] {
    run.dir.metrics().resume(label, resumed);
    run.progress.begin(label, steps, resumed, every);
    if (resumed > 0) run.progress.note(str(label, ": resumed at step ", resumed));
  };
  listener.on_step = [&](const UpdateReport& u) {
    run.progress.report({.step = static_cast<int>(u.step),
                         .loss = u.loss,
                         .val = std::exchange(val, std::nullopt),
                         .lr = u.lr,
                         .gnorm = u.grad_norm,
                         .tokens = u.tokens});
  };
  listener.on_log = [&](const UpdateReport& u) {
    Json line = Json::object();
    line.set("loss", u.loss).set("lr", u.lr).set("grad_norm", u.grad_norm);
    run.dir.metrics().append(label, u.step, line);
  };
  listener.on_remark = [&](std::int64_t step, const Json& remarks) {
    run.dir.metrics().append(label, step, remarks);
  };
  listener.on_eval = [&](std::int64_t step) {
    const Evaluation e = evaluate(parts.model, run.data.source.tokens.val,
                                  run.data.source.tokens.val_bytes_per_token, nullptr,
                                  {.windows = run.config.train.eval_windows});
    val = e.loss;
    Json line = Json::object();
    line.set("val_loss", e.loss);
    run.dir.metrics().append(label, step, line);
  };
  listener.stop_requested = stop_requested;
  Profile profile;
  if (run.profile) parts.profile = &profile;
  const TrainOutcome outcome = train(settings, parts, listener);
  row.seconds += outcome.seconds;
  if (outcome.build != parts.build) row.build = outcome.build;
  run.progress.end(outcome.finished
                       ? str(label, ": ", steps, " steps in ", format_duration(outcome.seconds))
                       : str(label, ": stopped at step ", outcome.steps));
  if (profile.steps() > 0) {
    const StepSplit split = step_split(profile);
    run.progress.note(str(label, ": ", describe(split), '\n',
                          render(split_table({{.split = split}}), TableFormat::screen)));
  }
  return outcome.finished;
}

}  // namespace notch::experiments
