#include "experiments/train/training_phase.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/rng.h"
#include "experiments/machine/machine.h"
#include "optim/adamw.h"
#include "optim/sgd.h"

namespace notch::experiments {
namespace {

using Pass = Profile::Pass;

// Of a checkpoint; the name is older than additions that do not quantize.
constexpr const char* kAdditionsFile = "quantizer.safetensors";

/// Usage error for settings that no step can be made with; those of schedule and optimizer are theirs.
const TrainSettings& possible(const TrainSettings& s, const TrainParts& parts) {
  constexpr std::int64_t kMost = 65536;  // as a configuration has them
  const auto refuse_unless = [&](bool ok, const char* key, const auto& value) {
    check(ok, s.phase, key, " = ", value, " is not possible in training");
  };
  refuse_unless(s.batch_size > 0 && s.batch_size <= kMost, "batch_size", s.batch_size);
  refuse_unless(s.grad_accum > 0 && s.grad_accum <= kMost, "grad_accum", s.grad_accum);
  refuse_unless(s.schedule.lr > 0, "lr", s.schedule.lr);
  refuse_unless(s.step_lr >= 0 && std::isfinite(s.step_lr), "step_lr", s.step_lr);
  refuse_unless(s.ema >= 0 && s.ema < 1, "ema", s.ema);
  refuse_unless(s.keep_last > 0, "keep_last", s.keep_last);
  check(s.first_step >= 0 && s.first_step <= s.last_step() && s.last_step() <= s.schedule.steps,
        s.phase, "steps ", s.first_step, " to ", s.last_step(), " of a schedule of ",
        s.schedule.steps);
  check(std::ranges::none_of(parts.additions, [](const nn::Addition* a) { return a == nullptr; }),
        s.phase, "an addition is not there");
  return s;
}

/// A graph whose products are those of the training.
Graph graph_of(const TrainSettings& s) {
  Graph graph;
  graph.set_precision(s.precision);
  return graph;
}

}  // namespace

TrainingPhase::TrainingPhase(const TrainSettings& settings, const TrainParts& parts)
    : s_(possible(settings, parts)),
      parts_(parts),
      batch_{.B = settings.batch_size,
             .T = parts.model.sizes().block_size,
             .order = settings.order,
             .seed = settings.seed,
             .micro_steps = settings.grad_accum},
      inputs_(static_cast<std::size_t>(batch_.B * batch_.T)),
      targets_(inputs_.size()),
      graph_(graph_of(s_)),
      teacher_graph_(graph_of(s_)),
      build_(parts.build) {
  s_.schedule.validate();
  graph_.set_profile(parts_.profile);
  std::vector<optim::ParamGroup> groups;
  if (!parts_.frozen) {
    parts_.model.params().allocate_gradients();
    groups = optim::decay_matrices(parts_.model.params(), s_.weight_decay);
  }
  for (nn::Addition* addition : parts_.additions) {
    ParamStore* own = addition->trained();
    if (!own) continue;
    own->allocate_gradients();
    // Step sizes: a learning rate of their own, no decay, outside the global clip (Esser et al.
    // train them like weights; log steps move relatively and need neither). Where they are all that
    // is trained, the clip is theirs.
    optim::ParamGroup group{.lr_mult = s_.step_lr / s_.schedule.lr, .clip = parts_.frozen};
    for (Param& p : own->params()) group.params.push_back(&p);
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

// ---- a step ----

UpdateReport TrainingPhase::step() {
  const double start = seconds_now();
  const std::int64_t step = done();
  check(step < steps(), s_.phase, "all ", steps(), " steps have been made");
  loss_ = gradients(step, graph_);
  const nn::Moment at{.r = static_cast<double>(step) / static_cast<double>(steps()),
                      .lr = s_.schedule(s_.first_step + step)};
  for (nn::Addition* addition : parts_.additions) addition->before_update(at.r);
  const optim::GradNorm norm = [&] {
    const Profile::Scope timing(parts_.profile, "gradient norm", {}, Pass::optimizer);
    return optim::grad_norm(optimizer_->groups(), s_.clip);
  }();
  if (!std::isfinite(loss_) || !std::isfinite(norm.norm) || !std::isfinite(norm.norm_outside)) {
    explain(step, norm);
  }
  {
    const Profile::Scope timing(parts_.profile, "update", {}, Pass::optimizer);
    optimizer_->step(at.lr, norm.scale);
    for (nn::Addition* addition : parts_.additions) addition->after_update(at);
    if (ema_) ema_->update();
  }
  if (parts_.profile) parts_.profile->add_step(seconds_now() - start);
  return {.step = step + 1,
          .loss = loss_,
          .lr = at.lr,
          .grad_norm = norm.norm,
          .tokens = batch_.B * batch_.T * s_.grad_accum};
}

/// Forward and backward of all micro-batches of a step; the mean loss.
double TrainingPhase::gradients(std::int64_t step, Graph& graph) {
  {
    const Profile::Scope timing(parts_.profile, "zero gradients", {}, Pass::optimizer);
    parts_.model.params().zero_gradients();
    for (nn::Addition* addition : parts_.additions)
      if (ParamStore* own = addition->trained()) own->zero_gradients();
  }
  double loss = 0;
  const double share = 1 / static_cast<double>(s_.grad_accum);
  for (std::int64_t micro = 0; micro < s_.grad_accum; ++micro) {
    data::batch(parts_.tokens, batch_, s_.first_step + step, micro, inputs_, targets_);
    const nn::Tokens tokens{inputs_, batch_.B, batch_.T};
    const std::optional<Teacher> teacher = teach(tokens);
    graph.begin(Graph::Mode::training, key(step, micro));
    const Var mean = loss_of(graph, {tokens, targets_}, teacher);
    loss += share * static_cast<double>(mean.item());
    graph.backward(mean, static_cast<real>(share));
  }
  return loss;
}

Var TrainingPhase::loss_of(Graph& graph, const nn::Batch& batch,
                           const std::optional<Teacher>& teacher) const {
  if (!teacher || parts_.hidden == 0) return parts_.model.loss(graph, batch, teacher);
  const Var x = parts_.model.hidden(graph, batch.tokens);
  const Var loss = nn::loss_of(graph, parts_.model.head(), x, batch.targets, teacher);
  const Var gap = sub(x, graph.constant(teacher->x, "teacher"));
  return add(loss, scale(mean(mul(gap, gap)), parts_.hidden));
}

std::optional<Teacher> TrainingPhase::teach(const nn::Tokens& tokens) {
  if (!parts_.teacher) return std::nullopt;
  const Profile::Scope timing(parts_.profile, "teacher", {}, Pass::forward);
  teacher_graph_.begin(Graph::Mode::inference);
  const Var x = parts_.teacher->hidden(teacher_graph_, tokens);
  return Teacher{.x = x.value(),
                 .head = parts_.teacher->head().weight->value,
                 .tau = parts_.temperature,
                 .alpha = parts_.alpha,
                 .reverse = parts_.reverse};
}

/// Of a micro-batch's random numbers: dropout, stochastic rounding.
std::uint64_t TrainingPhase::key(std::int64_t step, std::int64_t micro) const {
  const std::int64_t batch = (s_.first_step + step) * s_.grad_accum + micro;
  return mix64(mix64(s_.seed) + static_cast<std::uint64_t>(batch));
}

// ---- about steps ----

bool TrainingPhase::due(std::int64_t every) const {
  return done() == steps() || (every > 0 && done() % every == 0);
}

double TrainingPhase::seconds() const { return seconds_before_ + seconds_now() - start_; }

Json TrainingPhase::remarks() {
  check(done() > 0, s_.phase, "there is no step to tell of");
  data::BatchSpec part = batch_;
  part.B = std::max<std::int64_t>(1, batch_.B / 4);
  const auto size = static_cast<std::size_t>(part.B * part.T);
  const std::span<std::int32_t> inputs = std::span(inputs_).first(size),
                                targets = std::span(targets_).first(size);
  const std::int64_t step = done() - 1;
  const std::uint64_t draws = key(step, 0);
  data::batch(parts_.tokens, part, s_.first_step + step, 0, inputs, targets);
  const nn::Tokens tokens{inputs, part.B, part.T};
  Graph graph = graph_of(s_);
  const auto run = [&] {
    parts_.model.params().zero_gradients();
    const std::optional<Teacher> teacher = teach(tokens);
    graph.begin(Graph::Mode::training, draws);
    graph.backward(loss_of(graph, {tokens, targets}, teacher));
  };
  Json said;
  for (nn::Addition* addition : parts_.additions) {
    std::optional<nn::Remark> remark = addition->remark(run, draws);
    if (!remark) continue;
    if (said.is_null()) said = Json::object();
    said.set(std::string(remark->key), std::move(remark->value));
  }
  return said;
}

/// Runs the step again, checking every node, to say where the first bad number appeared.
void TrainingPhase::explain(std::int64_t step, const optim::GradNorm& norm) {
  ErrorParts parts{.fault = Fault::numeric,
                   .where = s_.phase,
                   .what = str("the loss or a gradient of step ", step, " is not finite"),
                   .found = str("loss ", loss_, ", gradient norm ", norm.norm),
                   .hint = str("the weights were not changed; retry with a lower ", s_.rate_key)};
  Graph checking = graph_of(s_);
  checking.set_check_finite(true);
  try {
    gradients(step, checking);
    // Every node is finite: then a sum over nodes was not.
    optim::require_finite(norm, optimizer_->groups(), step);
  } catch (const Error& e) {
    parts.field = e.parts().field.empty() ? e.parts().where : e.parts().field;
    parts.what += "; first bad: " + e.parts().where + ": " + e.parts().what;
  }
  throw Error(parts);
}

// ---- checkpoints ----

/// Everything that a resumed phase needs, as files of a checkpoint.
std::vector<nn::CheckpointPart> TrainingPhase::files() {
  nn::CheckpointPart moments{.file = "optimizer.safetensors"};
  const auto add_state = [&](const std::vector<optim::StateTensor>& tensors) {
    for (const optim::StateTensor& t : tensors) {
      moments.tensors.push_back({t.name, t.tensor.shape, t.tensor.flat()});
    }
  };
  add_state(optimizer_->state());
  if (ema_) add_state(ema_->state());
  std::vector<nn::CheckpointPart> all;
  if (!parts_.frozen)
    all.push_back(nn::checkpoint_part("model.safetensors", parts_.model.params()));
  all.push_back(std::move(moments));
  if (parts_.additions.empty()) return all;
  all.push_back({.file = kAdditionsFile});
  for (nn::Addition* addition : parts_.additions) {
    if (const ParamStore* own = addition->trained()) {
      const nn::CheckpointPart part = nn::checkpoint_part(kAdditionsFile, *own);
      all.back().tensors.insert(all.back().tensors.end(), part.tensors.begin(), part.tensors.end());
    }
    for (const nn::NamedValues& v : addition->state()) {
      all.back().tensors.push_back({v.name, {std::ssize(v.values)}, v.values});
    }
  }
  return all;
}

void TrainingPhase::save() {
  if (parts_.checkpoints.empty()) return;
  Json state = Json::object();
  state.set("phase", s_.phase).set("step", done()).set("seconds", seconds()).set("loss", loss_);
  state.set("build", build_);
  nn::save_checkpoint(parts_.checkpoints, done(), files(), state, s_.keep_last);
}

std::vector<nn::DamagedCheckpoint> TrainingPhase::resume() {
  if (parts_.checkpoints.empty()) return {};
  nn::LatestCheckpoint latest = nn::latest_checkpoint(parts_.checkpoints);
  if (!latest.path) return std::move(latest.skipped);
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
  if (const std::int64_t step = state.at("step", where).as_int(where); step != latest.step) {
    throw Error({.fault = Fault::input,
                 .where = where,
                 .what = "its state is of another step than its name",
                 .field = "step",
                 .found = std::to_string(step),
                 .expected = std::to_string(latest.step)});
  }
  optimizer_->set_steps(latest.step);
  seconds_before_ = std::max(0.0, state.at("seconds", where).as_number(where));
  loss_ = state.at("loss", where).as_number(where);
  const Json* build = state.find("build");
  build_ = then_build(build ? build->as_string(where) : std::string{}, parts_.build);
  // What was passed over may be whole, and only not have been readable now.
  if (latest.skipped.empty()) nn::keep_checkpoints(parts_.checkpoints, latest.step, s_.keep_last);
  return std::move(latest.skipped);
}

}  // namespace notch::experiments
