#include "experiments/run/pipeline_row.h"

#include <algorithm>
#include <functional>

#include "autograd/base/clock.h"
#include "autograd/base/error.h"
#include "experiments/run/compare.h"
#include "experiments/run/fit.h"
#include "experiments/run/setup.h"
#include "experiments/run/teacher.h"
#include "experiments/show/table.h"
#include "nn/architectures.h"
#include "nn/heads.h"
#include "nn/narrow.h"
#include "nn/resized.h"
#include "nn/shallow.h"
#include "quant/methods/factored.h"
#include "quant/methods/prune.h"
#include "quant/train/adapters.h"
#include "quant/train/mask.h"
#include "quant/train/warm_start.h"

namespace notch::experiments {
namespace {

using Kind = PipelineStage::Kind;

std::vector<StepRange> ranges_of(const ExperimentConfig& config,
                                 std::span<const PipelineStage> stages) {
  return step_ranges(stages, qat_steps(config), config.train.steps);
}

std::int64_t heads_left_of(const nn::Sizes& sizes, double gone, std::int64_t group) {
  return heads_left(sizes.n_kv_head, sizes.attention() / sizes.n_kv_head, gone, group);
}

/// ", in groups of 32", or "" without groups.
std::string group_text(const RowConfig& row) {
  return row.group_size > 0 ? str(", in groups of ", row.group_size) : "";
}

class Stages {
 public:
  Stages(const RunContext& run, std::int64_t seed, const ExperimentConfig& config,
         const RowConfig& row, nn::Model* teacher, const RowTools& tools, RowResult& result)
      : run_(run),
        seed_(seed),
        stream_(static_cast<std::uint64_t>(seed)),
        config_(config),
        row_(row),
        stages_(parse_pipeline(row.pipeline)),
        ranges_(ranges_of(config, stages_)),
        plan_(layers_plan(config, row)),
        teacher_(teacher),
        tools_(tools),
        result_(result) {}

  std::optional<PipelineModel> run(const nn::Model& first) {
    model_ = nn::clone(first);
    const double before = block_weights(*model_);
    done_.resize(stages_.size());
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      run_.progress.note(str(result_.name, ": stage ", i + 1, " of ", stages_.size(), ", ",
                             stages_[i].text,
                             ranges_[i].size() > 0 ? str(", ", ranges_[i].size(), " steps") : ""));
      if (!step(i)) return std::nullopt;
    }
    integers_.masks = std::move(masks_);
    if (std::ranges::any_of(stages_, &PipelineStage::resizes)) {
      result_.figures.emplace(quant::kLeftFigure.key, block_weights(*model_) / before);
    }
    return PipelineModel{
        .model = std::move(model_), .quantized = std::move(integers_), .done = std::move(done_)};
  }

 private:
  /// Whether it came to its end.
  bool step(std::size_t i) {
    const PipelineStage& s = stages_[i];
    switch (s.kind) {
      case Kind::prune:
        prune(s);
        return true;
      case Kind::heads:
      case Kind::neurons:
      case Kind::layers:
      case Kind::svd:
        resize(i);
        return true;
      case Kind::rewind:
        return rewind(i);
      case Kind::redraw:
        model_->init(redraw_seed(stream_));
        return true;
      case Kind::train:
      case Kind::distill:
        return train(i);
      case Kind::round:
        if (s.method->trains()) return train_through_rounding(i);
        round(*s.method);
        return true;
    }
    return true;
  }

  void prune(const PipelineStage& s) {
    ExperimentConfig own = config_;
    own.quant.options.prune = s.prune;
    quant::Plan plan = plan_;
    plan.activations.reset();
    std::vector<quant::NamedMask> masks = tools_.round(own, nullptr, plan, *model_).masks;
    for (std::size_t m = 0; m < masks_.size(); ++m)  // what was pruned before stays so
      std::ranges::transform(masks[m].keep, masks_[m].keep, masks[m].keep.begin(), std::bit_and{});
    masks_ = std::move(masks);
    if (integers_.tensors.empty()) return;
    quant::zero_pruned(integers_, masks_);
    quant::zero_pruned(latent_->params(), masks_);
  }

  /// Another model in the place of this one: smaller, or in factors.
  void resize(std::size_t i) {
    const PipelineStage& s = stages_[i];
    const double began = seconds_now();
    std::optional<Calibration> made;
    if (s.reads_text()) made.emplace(config_, *model_, run_.data.source.tokens.train, stream_);
    const std::span<const nn::Tokens> text = made ? made->batches() : std::span<const nn::Tokens>{};
    switch (s.kind) {
      case Kind::layers:
        done_[i] = take_out_blocks(s, text);
        break;
      case Kind::heads: {
        const nn::Sizes sizes = model_->sizes();
        const std::int64_t left = heads_left_of(sizes, s.share, row_.group_size);
        model_ = nn::with_heads_of(*model_,
                                   nn::most_important(nn::head_importance(*model_, text), left));
        done_[i] = str(model_->sizes().n_head, " of ", sizes.n_head, " heads stay");
        break;
      }
      case Kind::neurons: {
        const std::int64_t all = model_->sizes().n_inner;
        const std::int64_t left = channels_left(all, s.share, row_.group_size);
        model_ =
            nn::narrowed(*model_, nn::most_important(nn::inner_importance(*model_, text), left));
        done_[i] = str(left, " of ", all, " channels stay");
        break;
      }
      default:
        done_[i] = factor(s.svd, text);
    }
    run_.progress.note(str(result_.name, ": ", done_[i]));
    result_.seconds += seconds_now() - began;
  }

  std::string take_out_blocks(const PipelineStage& s, std::span<const nn::Tokens> text) {
    nn::Shallow shallow = nn::shallow(*model_, model_->sizes().n_layer - s.count, text);
    model_ = std::move(shallow.model);
    std::string out;
    for (const nn::RemovedBlock& r : shallow.removed) {
      out += str(out.empty() ? "" : ", ", "block ", r.block, " goes, the loss changes by ",
                 printed("%+.4f", r.rise));
    }
    return out;
  }

  std::string factor(quant::FactorOptions options, std::span<const nn::Tokens> text) {
    options.unit = rank_unit(row_.group_size);
    quant::Factored made = quant::factored(*model_, options, text);
    model_ = std::move(made.model);
    std::string ranks;
    double least = 1;
    for (const quant::FactoredMatrix& m : made.matrices) {
      ranks += str(ranks.empty() ? "" : " ", m.rank > 0 ? str(m.rank) : std::string("whole"));
      least = std::min(least, m.kept);
    }
    return str("ranks ", ranks, ", each with ", printed("%.1f", 100 * least),
               " % of its energy or more");
  }

  static double block_weights(nn::Model& model) {
    double n = 0;
    for (const nn::Linear* l : model.linears()) n += static_cast<double>(l->weight->value.size());
    return n;
  }

  /// The first steps of fp32's training are made again: they give the weights of then.
  bool rewind(std::size_t i) {
    model_ = first_model(config_, run_.data.source.tokenizer.vocab_size(), stream_);
    if (stages_[i].count == 0) return true;
    TrainSettings s = base_settings(config_, stream_);
    s.phase = phase(i);
    s.end_step = stages_[i].count;
    s.ema = 0;
    return fit(run_, seed_, s, taught({.model = *model_}, run_.config.distill, base_teacher()),
               result_);
  }

  bool train(std::size_t i) {
    const bool again = trains_again(stages_, i);
    TrainParts parts = taught({.model = *model_}, again ? run_.config.distill : config_.distill,
                              stages_[i].has_teacher() ? teacher_
                              : again                  ? base_teacher()
                                                       : nullptr);
    std::optional<quant::Mask> mask;
    if (!masks_.empty()) parts.additions.push_back(&mask.emplace(*model_, masks_));
    if (!fit(run_, seed_, settings(i), parts, result_)) return false;
    if (mask) mask->settle();
    return true;
  }

  void round(const quant::Method& method) {
    latent_ = nn::clone(*model_);
    ExperimentConfig own = config_;
    if (!masks_.empty()) own.quant.options.prune.method = "zeros";
    integers_ = tools_.round(own, &method, plan_, *model_);
  }

  bool train_through_rounding(std::size_t i) {
    if (!stages_[i].method->trains_weights()) return train_beside_codes(i);
    const bool goes_on = !integers_.tensors.empty();
    if (goes_on) {
      quant::return_to_cells(model_->params(), latent_->params(), integers_);
      quant::zero_pruned(model_->params(), masks_);
    }
    std::optional<quant::Quantized> made = tools_.train(
        *stages_[i].method, plan_, settings(i), *model_, goes_on ? &integers_ : nullptr, masks_);
    if (!made) return false;
    latent_ = nn::clone(*model_);
    take(std::move(*made));
    return true;
  }

  bool train_beside_codes(std::size_t i) {
    const quant::Method& method = *stages_[i].method;
    if (integers_.tensors.empty()) round(*method.base);
    const auto packed = quant::packed_twin(*model_, integers_);
    std::optional<quant::Quantized> made =
        tools_.train(method, plan_, settings(i), *packed, &integers_, masks_);
    if (!made) return false;
    take(std::move(*made));
    return true;
  }

  /// The integers are these, and the model is what they say.
  void take(quant::Quantized made) {
    integers_ = std::move(made);
    for (const quant::NamedQTensor& t : integers_.tensors)
      quant::dequantize(t.q, model_->params().find(t.name)->value.flat());
  }

  /// Whom fp32 learned from, which its training once more does too; null for the labels.
  nn::Model* base_teacher() const {
    return run_.config.distill.teacher.empty() ? nullptr : teacher_;
  }

  std::string phase(std::size_t i) const { return str(result_.name, "-stage", i + 1); }

  TrainSettings settings(std::size_t i) const {
    TrainSettings s = pipeline_settings(config_, stream_, stages_, phase(i));
    s.first_step = ranges_[i].first;
    s.end_step = ranges_[i].last;
    if (ranges_[i].last < s.schedule.steps)
      s.ema = 0;  // of a training there is one average, at its end
    if (stages_[i].method) s.step_lr = step_rate(config_, *stages_[i].method);
    return s;
  }

  const RunContext& run_;
  std::int64_t seed_;
  std::uint64_t stream_;
  const ExperimentConfig& config_;
  const RowConfig& row_;
  std::vector<PipelineStage> stages_;
  std::vector<StepRange> ranges_;
  quant::Plan plan_;
  nn::Model* teacher_;
  const RowTools& tools_;
  RowResult& result_;
  std::unique_ptr<nn::Model> model_, latent_;  // latent_: the weights behind the integers
  quant::Quantized integers_;
  std::vector<quant::NamedMask> masks_;
  std::vector<std::string> done_;
};

/// What a stage that resizes leaves of these shapes.
std::unique_ptr<nn::Model> resized(const PipelineStage& s, const RowConfig& row,
                                   const nn::Model& shapes) {
  constexpr auto kShapes = nn::Model::Values::shapes_only;
  const nn::Sizes& sizes = shapes.sizes();
  check(sizes.ranks.empty(), s.text, "the matrices of the model are in two factors already");
  if (s.kind == Kind::heads) {
    const std::int64_t left = heads_left_of(sizes, s.share, row.group_size);
    check(left < sizes.n_kv_head, s.text, "rounds to none of ", sizes.n_kv_head, " heads of ",
          sizes.attention() / sizes.n_kv_head, " channels", group_text(row));
    return nn::with_heads(shapes, left, kShapes);
  }
  if (s.kind == Kind::svd) {
    const std::vector<std::int64_t> ranks = quant::least_ranks(sizes, rank_unit(row.group_size));
    const double least = quant::weights_share(sizes, ranks);
    const std::string smallest =
        str("the smallest factors, of rank ", rank_unit(row.group_size), group_text(row), ", have ",
            printed("%.1f", 100 * least), " % of the matrices' bytes");
    check(least < 1, s.text, smallest);
    check(!s.svd.weights || s.svd.share >= least, s.text, smallest);
    return nn::with_ranks(shapes, ranks, kShapes);
  }
  Json json = shapes.config_json();
  const nn::Architecture& a = nn::architecture_of(json, s.text);
  if (s.kind == Kind::layers) {
    json.set(a.layers, sizes.n_layer - s.count);
  } else {
    const std::int64_t left = channels_left(sizes.n_inner, s.share, row.group_size);
    check(left < sizes.n_inner, s.text, "no part of the ", sizes.n_inner,
          " channels can go: the nearest that fits kernels", group_text(row), " is all of them");
    json.set(a.inner, left);
  }
  return nn::make_model(json, s.text, kShapes);
}

}  // namespace

std::optional<PipelineModel> run_pipeline(const RunContext& run, std::int64_t seed,
                                          const ExperimentConfig& config, const RowConfig& row,
                                          const nn::Model& first, nn::Model* teacher,
                                          const RowTools& tools, RowResult& result) {
  return Stages(run, seed, config, row, teacher, tools, result).run(first);
}

quant::Plan layers_plan(const ExperimentConfig& config, RowConfig row) {
  if (row.bits > 0) return row_plan(config, row);
  row.grid = quant::name_of(quant::with_bits(row_spec(row), 8).grid);
  row.bits = 8;
  quant::Plan plan = row_plan(config, row);
  plan.weights = {.bits = 8,
                  .grid = quant::GridKind::narrow,
                  .granularity = quant::Granularity::channel,
                  .scale = quant::ScaleType::f32};
  return plan;
}

std::unique_ptr<nn::Model> shapes_after(const ExperimentConfig& config, const RowConfig& row,
                                        nn::Model& shapes) {
  std::unique_ptr<nn::Model> out = shapes.twin(nn::Model::Values::shapes_only);
  for (const PipelineStage& s : parse_pipeline(row.pipeline)) {
    if (s.kind == Kind::prune) {
      for (const quant::Target& t : quant::resolve(layers_plan(config, row), *out))
        if (quant::is_prunable(*out, t))
          quant::require_pattern(s.prune, t.weight->value.cols(), t.name);
    }
    if (s.resizes()) out = resized(s, row, *out);
  }
  return out;
}

TrainSettings pipeline_settings(const ExperimentConfig& config, std::uint64_t seed,
                                std::span<const PipelineStage> stages, std::string phase) {
  if (std::ranges::any_of(stages, &PipelineStage::begins_again)) {
    TrainSettings s = base_settings(config, seed);
    s.phase = std::move(phase);
    return s;
  }
  const bool all_taught = std::ranges::all_of(
      stages, [](const PipelineStage& s) { return !s.trains() || s.has_teacher(); });
  ExperimentConfig own = config;
  const bool own_rate = all_taught && config.distill.lr_scale > 0;
  if (own_rate) own.qat.lr_scale = config.distill.lr_scale;
  TrainSettings s = fork_settings(own, seed, std::move(phase));
  if (own_rate) s.rate_key = "distill.lr_scale";
  return s;
}

std::string describe_pipeline(const ExperimentConfig& config, const RowConfig& row) {
  const std::vector<PipelineStage> stages = parse_pipeline(row.pipeline);
  const std::vector<StepRange> ranges = ranges_of(config, stages);
  std::string out;
  std::int64_t steps = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const std::int64_t n = ranges[i].size();
    out += str(i == 0 ? "" : ", ", stages[i].text, n > 0 ? str(" (", n, " steps)") : "");
    steps += n;
  }
  return str(out, "; ", steps, " steps of training");
}

Json pipeline_json(const ExperimentConfig& config, const RowConfig& row,
                   std::span<const std::string> done) {
  const std::vector<PipelineStage> stages = parse_pipeline(row.pipeline);
  const std::vector<StepRange> ranges = ranges_of(config, stages);
  check(done.size() == stages.size(), "pipeline", "what ", done.size(), " stages have done, of ",
        stages.size());
  Json::Array all;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    Json one = Json::object();
    one.set("stage", stages[i].text).set("steps", ranges[i].size());
    if (!done[i].empty()) one.set("done", done[i]);
    all.push_back(std::move(one));
  }
  return Json(std::move(all));
}

}  // namespace notch::experiments
