// The post-training walk, a plain loop: stage after stage, and in it group after group of steps (the
// whole stage, or with true-sequential order each step by itself).
//
//   for every group:  transform inputs and the weights that read them, where the method does (a pass
//                     over the text, if it looks at the inputs)
//                     find the static ranges of the inputs                         (a pass)
//                     collect the second moments of the inputs                     (a pass)
//                     round the matrices
//                     go on, through the group as it ships now                     (a pass)
//
// A method that compares with the model before rounding has states of that model beside the text's,
// which go on before the group is rounded. One that refines goes on from the walk's result.
#include "quant/methods/post_training.h"

#include <algorithm>
#include <map>

#include "quant/methods/calibration.h"
#include "quant/methods/changed_inputs.h"
#include "quant/methods/methods.h"
#include "quant/methods/prune.h"
#include "quant/methods/round_matrix.h"
#include "quant/methods/rtn.h"
#include "quant/methods/targets.h"
#include "quant/methods/tied_table.h"
#include "quant/methods/walked_text.h"
#include "quant/numbers/nested_scales.h"

namespace notch::quant {
namespace {

class Walk {
 public:
  Walk(nn::Model& model, const Method& method, std::span<const Target> targets,
       std::span<const nn::Tokens> text, const PostTrainingOptions& options)
      : model_(model),
        method_(method),
        pruner_(find_pruner(options.prune.method)),
        targets_(targets),
        text_(text),
        options_(options) {
    require_targets(model, targets, Weights::with_values);
    for (const Target& t : targets_) {
      if (pruner_ && method_.round && is_prunable(model_, t)) require_zero(t.spec, t.name);
    }
  }

  Quantized run() {
    check(!needs_text(&method_, targets_, options_) || !text_.empty(), method_.name,
          "needs calibration text and got none");
    if (collects() || transforms_by_text() || std::ranges::any_of(targets_, needs_calibration)) {
      walk_stages();
    } else if (method_.transform) {
      for (const nn::Stage& stage : model_.stages()) transform(stage.steps);
    }
    // What is left: everything for methods without statistics, tables that are only looked up.
    for (const Target& t : targets_) {
      if (!done_.contains(t.weight)) round(t, nullptr);
    }
    Quantized out;
    for (const Target& t : targets_) {
      RoundedMatrix& done = done_.at(t.weight);
      if (!done.keep.empty()) out.masks.push_back({t.weight->name, std::move(done.keep)});
      if (!method_.round) continue;
      out.tensors.push_back(inputs_.tensor(t, std::move(done.codes)));
      out.layers.push_back(std::move(done.report));
    }
    return out;
  }

 private:
  void walk_stages() {
    const nn::Step head{.linears = {&model_.head()},
                        .input = [](Graph&, const nn::State& s) { return s.residual; }};
    const bool tied = model_.head_is_tied() && target_of(targets_, model_.head());
    std::optional<Hessian> lookups;
    if (method_.needs.hessian && tied) {
      // The loss that lookups are weighed by is that of rounded inputs, as far as ranges are known.
      const nn::Attachment rounding = model_.hooks().linear_chain.attach(
          [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
            return next(g, linear, inputs_.shipped(linear, x));
          });
      lookups = lookup_moment(model_, text_);
    }
    if (method_.needs.drift) walked_.begin_reference(model_, text_);
    const std::vector<std::vector<real>> tables = round_tables();
    walked_.begin(model_, text_);
    for (const nn::Stage& stage : model_.stages()) {
      const std::size_t size = options_.gptq.true_sequential ? 1 : stage.steps.size();
      for (std::size_t i = 0; i < stage.steps.size(); i += size) {
        const Group group(stage.steps.data() + i, size);
        if (method_.transform) transform(group);
        round(group, observe(group, method_.needs.drift));
        walked_.advance(group);
      }
    }
    restore(tables);
    // The head sees the last states. A tied table is looked up as well, so its codes stay close to
    // the weights themselves: no drift, and what lookups weigh.
    Moments moments = observe({&head, 1}, method_.needs.drift && !tied);
    if (lookups && !moments.empty()) moments.at(&model_.head()).add(*lookups);
    round({&head, 1}, moments);
  }

  /// Finds the group's static input ranges, then the second moments of its rounded inputs.
  Moments observe(Group group, bool drifts) {
    walked_.find_ranges(group);
    return collects() ? walked_.moments(group, drifts) : Moments();
  }

  bool collects() const { return method_.needs.hessian || (pruner_ && pruner_->needs_inputs); }
  /// A rotation, which looks at no input, needs no pass over the text.
  bool transforms_by_text() const { return method_.transform && method_.needs.magnitudes; }

  /// What a transform is told of.
  KeptInputs transformed_by() const {
    std::int64_t tokens = 0;
    for (const nn::Tokens& t : text_) tokens += t.B * t.T;
    return {
        .moments = method_.needs.hessian && transforms_by_text(),
        .magnitudes = method_.needs.magnitudes,
        .sample_every = method_.needs.sample ? std::max<std::int64_t>(1, tokens / kSampleRows) : 0};
  }

  void transform(Group group) {
    const Moments all = walked_.unrounded(group, transformed_by());
    for (const nn::Step& step : group) {
      const std::vector<const Target*> readers = targets_of(targets_, {&step, 1});
      if (readers.empty()) continue;
      const Transform by = method_.transform(readers, all.at(readers[0]->linear), options_);
      for (const Target* t : readers) moved_by_[t->weight] = by.measures;
      if (std::ranges::any_of(by.divide, [](real s) { return s != 1; })) {
        inputs_.divide(step, by.divide, step.source && done_.contains(step.source->weight));
      }
      for (const Target* t : readers) {
        if (!by.signs.empty()) inputs_.rotate(*t, by.signs);
        if (!by.apart.empty()) inputs_.set_apart(*t, by.apart);
      }
    }
  }

  void round(Group group, const Moments& moments) {
    for (const Target* t : targets_of(targets_, group)) {
      const auto H = moments.find(t->linear);
      round(*t, H == moments.end() ? nullptr : &H->second);
    }
  }

  void round(const Target& t, const Hessian* H) {
    const Pruner* pruner = pruner_ && is_prunable(model_, t) ? pruner_ : nullptr;
    RoundedMatrix& done = done_[t.weight];
    done = round_matrix(t, H, method_, pruner, options_);
    if (done.side) inputs_.put_beside(t, std::move(*done.side));
    for (const Measure& m : moved_by_[t.weight]) done.report.measures.push_back(m);
  }

  /// While the walk runs, tables that will be rounded stand at their round-to-nearest values; returns what they
  /// were.
  std::vector<std::vector<real>> round_tables() {
    std::vector<std::vector<real>> originals;
    for (const Target& t : targets_) {
      if (!is_rounded_table(t)) continue;
      const std::span<const real> w = t.weight->value.flat();
      originals.emplace_back(w.begin(), w.end());
      std::ranges::copy(dequantize(round_nearest(t, options_.gptq.range())), t.weight->value.data);
    }
    return originals;
  }

  void restore(const std::vector<std::vector<real>>& originals) {
    auto next = originals.begin();
    for (const Target& t : targets_) {
      if (is_rounded_table(t)) std::ranges::copy(*next++, t.weight->value.data);
    }
  }

  bool is_rounded_table(const Target& t) const {
    return method_.round && std::ranges::any_of(model_.embeddings(), [&](const nn::Embedding* e) {
             return e->weight == t.weight;
           });
  }

  nn::Model& model_;
  const Method& method_;
  const Pruner* pruner_;  // null: nothing is pruned
  std::span<const Target> targets_;
  std::span<const nn::Tokens> text_;
  const PostTrainingOptions& options_;
  ChangedInputs inputs_{targets_};
  WalkedText walked_{targets_, inputs_};
  std::map<const Param*, RoundedMatrix> done_;
  std::map<const Param*, std::vector<Measure>> moved_by_;  // of transforms
};

}  // namespace

Quantized post_training(nn::Model& model, const Method& method, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options) {
  check(method.round != nullptr, method.name, "does not round after training");
  for (const Target& t : targets) require_grid(method, t.spec, t.name);
  check(!method.refine || !options.prune.on(), method.name,
        "learns every code of a matrix and would fill what is pruned");
  const std::unique_ptr<nn::Model> before = method.refine ? nn::clone(model) : nullptr;
  Quantized quantized = Walk(model, method, targets, calibration, options).run();
  if (!method.refine) return quantized;
  method.refine({.model = model,
                 .reference = *before,
                 .targets = targets,
                 .text = calibration,
                 .quantized = quantized},
                options);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    Param& p = *targets[i].weight;
    nest_scales(quantized.tensors[i].q);
    dequantize(quantized.tensors[i].q, p.value.flat());
    measure_rounding(before->params().find(p.name)->value.flat(), p.value.flat(),
                     quantized.layers[i]);
  }
  return quantized;
}

Quantized prune(nn::Model& model, std::span<const Target> targets,
                std::span<const nn::Tokens> calibration, const PostTrainingOptions& options) {
  check(options.prune.on(), "prune", "no method of pruning");
  static constexpr Method kNoRounding{.name = "prune"};
  return Walk(model, kNoRounding, targets, calibration, options).run();
}

bool needs_text(const Method* method, std::span<const Target> targets,
                const PostTrainingOptions& options) {
  const Pruner* pruner = find_pruner(options.prune.method);
  return (method && method->needs.reads_text()) || (pruner && pruner->needs_inputs) ||
         std::ranges::any_of(targets, needs_calibration);
}

}  // namespace notch::quant
