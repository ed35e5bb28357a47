#include "experiments/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "autograd/base/rng.h"
#include "nn/checkpoint.h"
#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/sgd.h"

namespace notch::experiments {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The phase in motion: everything a step touches, allocated once.
class Phase {
 public:
  Phase(const TrainSettings& settings, const TrainParts& parts)
      : s_(settings),
        parts_(parts),
        batch_{.B = settings.batch_size,
               .T = parts.model.config().block_size,
               .order = settings.order,
               .seed = settings.seed,
               .micro_steps = settings.grad_accum},
        inputs_(static_cast<std::size_t>(batch_.B * batch_.T)),
        targets_(inputs_.size()) {
    s_.schedule.validate();
    parts_.model.params().allocate_gradients();
    std::vector<optim::ParamGroup> groups =
        optim::decay_matrices(parts_.model.params(), s_.weight_decay);
    if (parts_.fake && !parts_.fake->params().params().empty()) {
      ParamStore& steps = parts_.fake->params();
      steps.allocate_gradients();
      // Step sizes: a learning rate of their own, no decay, outside the global clip (Esser et al.
      // train them like weights; log steps move relatively and need neither).
      optim::ParamGroup group{.lr_mult = s_.step_lr / s_.schedule.lr, .clip = false};
      for (Param& p : steps.params()) group.params.push_back(&p);
      groups.push_back(std::move(group));
    }
    if (s_.sgd) {
      optimizer_ = std::make_unique<optim::Sgd>(groups, s_.momentum);
    } else {
      optimizer_ = std::make_unique<optim::AdamW>(
          groups, optim::AdamWConfig{.beta1 = s_.beta1, .beta2 = s_.beta2, .eps = s_.eps});
    }
    if (s_.ema > 0) ema_.emplace(groups, s_.ema);
  }

  std::int64_t steps() const { return s_.schedule.steps; }
  std::int64_t done() const { return optimizer_->steps(); }
  double seconds() const { return seconds_before_ + seconds_since(start_); }
  double loss() const { return loss_; }
  std::optional<optim::Ema>& ema() { return ema_; }

  /// One update; the state is unchanged when it throws.
  UpdateReport step() {
    const std::int64_t step = done();
    loss_ = run(step, graph_);
    const optim::GradNorm norm = optim::grad_norm(optimizer_->groups(), s_.clip);
    if (!std::isfinite(loss_) || !std::isfinite(norm.norm) || !std::isfinite(norm.norm_outside)) {
      explain(step, norm);
    }
    const double lr = s_.schedule(step);
    optimizer_->step(lr, norm.scale);
    if (ema_) ema_->update();
    return {.step = step + 1,
            .steps = steps(),
            .loss = loss_,
            .lr = lr,
            .grad_norm = norm.norm,
            .tokens = batch_.B * batch_.T * s_.grad_accum};
  }

  void save() {
    if (parts_.checkpoints.empty()) return;
    Json state = Json::object();
    state.set("phase", s_.phase).set("step", done()).set("seconds", seconds()).set("loss", loss_);
    nn::save_checkpoint(parts_.checkpoints, done(), files(), state, s_.keep_last);
  }

  /// Whether a checkpoint was there. A damaged one is passed over for the one before it.
  bool resume(const TrainListener& listener) {
    if (parts_.checkpoints.empty()) return false;
    const nn::LatestCheckpoint latest = nn::latest_checkpoint(parts_.checkpoints);
    for (const nn::DamagedCheckpoint& d : latest.skipped) {
      if (listener.on_damaged) listener.on_damaged(d.path.string(), d.reason);
    }
    if (!latest.path) return false;
    const Json state = nn::load_checkpoint(*latest.path, files());
    const std::string where = latest.path->string();
    const std::string& phase = state.at("phase", where).as_string(where);
    if (phase != s_.phase) {
      throw Error({.fault = Fault::input,
                   .where = where,
                   .what = "the checkpoint belongs to another phase",
                   .field = "phase",
                   .found = phase,
                   .expected = s_.phase});
    }
    optimizer_->set_steps(state.at("step", where).as_int(where));
    seconds_before_ = state.at("seconds", where).as_number(where);
    loss_ = state.at("loss", where).as_number(where);
    return true;
  }

 private:
  /// Forward and backward of all micro-batches of a step; the mean loss.
  double run(std::int64_t step, Graph& graph) {
    parts_.model.params().zero_gradients();
    if (parts_.fake) parts_.fake->params().zero_gradients();
    double loss = 0;
    const double share = 1 / static_cast<double>(s_.grad_accum);
    for (std::int64_t micro = 0; micro < s_.grad_accum; ++micro) {
      data::batch(parts_.tokens, batch_, step, micro, inputs_, targets_);
      const nn::Tokens tokens{inputs_, batch_.B, batch_.T};
      const std::optional<Teacher> teacher = teach(tokens);
      graph.begin(Graph::Mode::training,
                  mix64(mix64(s_.seed) + static_cast<std::uint64_t>(step * s_.grad_accum + micro)));
      const Var mean = parts_.model.loss(graph, {tokens, targets_}, teacher);
      loss += share * static_cast<double>(mean.item());
      graph.backward(mean, static_cast<real>(share));
    }
    return loss;
  }

  std::optional<Teacher> teach(const nn::Tokens& tokens) {
    if (!parts_.teacher) return std::nullopt;
    teacher_graph_.begin(Graph::Mode::inference);
    const Var x = parts_.teacher->hidden(teacher_graph_, tokens);
    return Teacher{.x = x.value(),
                   .head = parts_.teacher->head().weight->value,
                   .tau = parts_.temperature,
                   .alpha = parts_.alpha};
  }

  /// Runs the step again, checking every node, to say where the first bad number appeared.
  [[noreturn]] void explain(std::int64_t step, const optim::GradNorm& norm) {
    ErrorParts parts{.fault = Fault::numeric,
                     .where = s_.phase,
                     .what = str("the loss or a gradient of step ", step, " is not finite"),
                     .found = str("loss ", loss_, ", gradient norm ", norm.norm),
                     .hint = "the weights were not changed; retry with a lower train.lr"};
    Graph checking;
    checking.set_check_finite(true);
    try {
      run(step, checking);
      // Every node is finite: then a sum over nodes was not.
      optim::require_finite(norm, optimizer_->groups(), step);
    } catch (const Error& e) {
      parts.field = e.parts().field.empty() ? e.parts().where : e.parts().field;
      parts.what += "; first bad: " + e.parts().where + ": " + e.parts().what;
    }
    throw Error(parts);
  }

  /// Everything that a resumed phase needs, as files of a checkpoint.
  std::vector<nn::CheckpointPart> files() {
    nn::CheckpointPart moments{.file = "optimizer.safetensors"};
    const auto add_state = [&](const std::vector<optim::StateTensor>& tensors) {
      for (const optim::StateTensor& t : tensors) {
        moments.tensors.push_back({t.name, t.tensor.shape, t.tensor.flat()});
      }
    };
    add_state(optimizer_->state());
    if (ema_) add_state(ema_->state());
    std::vector<nn::CheckpointPart> all{
        nn::checkpoint_part("model.safetensors", parts_.model.params()), std::move(moments)};
    if (!parts_.fake) return all;
    all.push_back(nn::checkpoint_part("quantizer.safetensors", parts_.fake->params()));
    for (const quant::FakeQuantizer::NamedValues& v : parts_.fake->fixed_values()) {
      all.back().tensors.push_back({v.name, {std::ssize(v.values)}, v.values});
    }
    return all;
  }

  TrainSettings s_;
  TrainParts parts_;
  data::BatchSpec batch_;
  std::vector<std::int32_t> inputs_, targets_;
  Graph graph_, teacher_graph_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::optional<optim::Ema> ema_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double seconds_before_ = 0, loss_ = 0;
};

bool due(std::int64_t step, std::int64_t every, std::int64_t steps) {
  return step == steps || (every > 0 && step % every == 0);
}

}  // namespace

TrainOutcome train(const TrainSettings& settings, const TrainParts& parts,
                   const TrainListener& listener) {
  Phase phase(settings, parts);
  if (phase.resume(listener) && listener.on_resume) listener.on_resume(phase.done());
  if (listener.on_start) listener.on_start();
  const std::int64_t steps = phase.steps();
  while (phase.done() < steps) {
    if (listener.stop_requested && listener.stop_requested()) {
      phase.save();
      return {false, phase.done(), phase.seconds(), phase.loss()};
    }
    const UpdateReport report = phase.step();
    if (listener.on_log && due(report.step, settings.log_every, steps)) listener.on_log(report);
    if (listener.on_eval && due(report.step, settings.eval_every, steps)) {
      std::optional<optim::EmaWeights> averages;
      if (phase.ema()) averages.emplace(*phase.ema());
      listener.on_eval(report.step);
    }
    if (listener.on_step) listener.on_step(report);
    if (due(report.step, settings.checkpoint_every, steps)) phase.save();
  }
  const TrainOutcome outcome{true, phase.done(), phase.seconds(), phase.loss()};
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
