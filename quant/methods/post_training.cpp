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

#include "autograd/base/half.h"
#include "quant/kernels/hadamard.h"
#include "quant/methods/calibration.h"
#include "quant/methods/input_divisors.h"
#include "quant/methods/methods.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"
#include "quant/methods/text_states.h"
#include "quant/methods/tied_table.h"
#include "quant/numbers/nested_scales.h"
#include "quant/ops/changed_input.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

using Group = TextStates::Group;
using Moments = std::map<const nn::Linear*, Hessian>;

real as_f16(real v) { return from_f16(to_f16(static_cast<float>(v))); }

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
    for (const Target& t : targets_) {
      if (t.input && !needs_calibration(t)) inputs_[t.linear].ready.map.round = t.input;
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
      if (Keep& keep = done_.at(t.weight).keep; !keep.empty())
        out.masks.push_back({t.weight->name, std::move(keep)});
      if (!method_.round) continue;
      Input& input = inputs_[t.linear];
      const std::optional<InputQuantizer>& found = input.ready.map.round;
      out.tensors.push_back({t.weight->name, std::move(done_.at(t.weight).q),
                             found ? found : t.input, std::move(input.change)});
      out.layers.push_back(std::move(done_.at(t.weight).report));
    }
    return out;
  }

 private:
  struct Done {
    QTensor q{};
    LayerReport report{};
    Keep keep{};
  };
  /// Of a linear, as far as it is known.
  struct Input {
    InputChange change{};
    RunnableChange ready{};  ///< and its range

    void settle(std::int64_t cols) {
      const std::optional<InputQuantizer> round = ready.map.round;
      ready = RunnableChange(change, cols);
      ready.map.round = round;
    }
  };

  void walk_stages() {
    const nn::Step head{.linears = {&model_.head()},
                        .input = [](Graph&, const nn::State& s) { return s.residual; }};
    const bool tied = model_.head_is_tied() && target_of(model_.head());
    std::optional<Hessian> lookups;
    if (method_.needs.hessian && tied) {
      // The loss that lookups are weighed by is that of rounded inputs, as far as ranges are known.
      const nn::Attachment rounding = model_.hooks().linear_chain.attach(
          [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) {
            return next(g, linear, shipped_(linear, x));
          });
      lookups = lookup_moment(model_, text_);
    }
    if (method_.needs.drift) reference_ = TextStates(model_, text_);
    const std::vector<std::vector<real>> tables = round_tables();
    states_ = TextStates(model_, text_);
    for (const nn::Stage& stage : model_.stages()) {
      const std::size_t size = options_.gptq.true_sequential ? 1 : stage.steps.size();
      for (std::size_t i = 0; i < stage.steps.size(); i += size) {
        const Group group(stage.steps.data() + i, size);
        if (method_.transform) transform(group);
        round(group, observe(group, method_.needs.drift));
        for (std::size_t b = 0; b < states_.batches(); ++b)
          states_.advance(group, b, shipped_, {}, beside_);
      }
    }
    restore(tables);
    // The head sees the last states. A tied table is looked up as well, so its codes stay close to
    // the weights themselves: no drift, and what lookups weigh.
    Moments moments = observe({&head, 1}, method_.needs.drift && !tied);
    if (lookups && !moments.empty()) moments.at(&model_.head()).add(*lookups);
    round({&head, 1}, moments);
  }

  /// Finds the group's static input ranges over all calibration text, then the second moments of
  /// its rounded inputs, where `drifts` beside what the model before rounding multiplies. Leaves
  /// that model's states behind the group.
  Moments observe(Group group, bool drifts) {
    find_ranges(group);
    return moments(group, drifts);
  }

  Moments moments(Group group, bool drifts) {
    if (!collects()) return {};  // a group without targets is gone through all the same
    Moments all = empty_moments(group, {});
    std::map<const nn::Linear*, std::vector<real>> reference;
    for (std::size_t b = 0; b < states_.batches(); ++b) {
      if (drifts) {
        reference_.advance(group, b, in_floats_, [&](const nn::Linear& l, Var x) {
          if (!all.contains(&l)) return;
          reference[&l].assign(x.value().flat().begin(), x.value().flat().end());
        });
      }
      visit_inputs(group, b, shipped_, [&](const nn::Linear& l, Var x) {
        const auto H = all.find(&l);
        if (H == all.end()) return;
        if (drifts) {
          H->second.accumulate(x.value().flat(), reference.at(&l));
        } else {
          H->second.accumulate(x.value().flat());
        }
      });
    }
    return all;
  }

  bool collects() const { return method_.needs.hessian || (pruner_ && pruner_->needs_inputs); }
  /// A rotation, which looks at no input, needs no pass over the text.
  bool transforms_by_text() const { return method_.transform && method_.needs.magnitudes; }

  Moments empty_moments(Group group, const KeptInputs& kept) const {
    Moments all;
    for_targets(group, [&](const Target& t) {
      all.emplace(t.linear, Hessian(t.linear->in_features(), kept));
    });
    return all;
  }

  /// What a transform is told of.
  KeptInputs transformed_by() const {
    std::int64_t tokens = 0;
    for (const nn::Tokens& t : text_) tokens += t.B * t.T;
    return {
        .moments = method_.needs.hessian && transforms_by_text(),
        .magnitudes = method_.needs.magnitudes,
        .sample_every = method_.needs.sample ? std::max<std::int64_t>(1, tokens / kSampleRows) : 0};
  }

  void find_ranges(Group group) {
    std::map<const nn::Linear*, Observer> observers;
    for_targets(group, [&](const Target& t) {
      if (needs_calibration(t)) observers.emplace(t.linear, Observer(t.input->spec));
    });
    if (observers.empty()) return;
    for (std::size_t b = 0; b < states_.batches(); ++b) {
      visit_inputs(group, b, shipped_, [&](const nn::Linear& l, Var x) {
        const auto at = observers.find(&l);
        if (at != observers.end()) at->second.observe(x.value().flat());
      });
    }
    for (const auto& [l, observer] : observers) {
      const ActivationSpec& spec = target_of(*l)->input->spec;
      inputs_[l].ready.map.round = InputQuantizer{spec, input_range(spec, observer, l->name)};
    }
  }

  /// As far as the input of the group's last target: no product is made that none of them needs.
  void visit_inputs(Group group, std::size_t batch, const TextStates::Input& input,
                    const TextStates::Seen& seen) {
    const auto has_target = [&](const nn::Step& step) {
      return std::ranges::any_of(step.linears, [&](const nn::Linear* l) { return target_of(*l); });
    };
    while (!group.empty() && !has_target(group.back())) group = group.first(group.size() - 1);
    if (!group.empty()) states_.visit(group, batch, input, seen, beside_);
  }

  // ---- transforms ----

  /// What a method transforms is an input as it is before it is rounded, so that is what it is told of.
  void transform(Group group) {
    Moments all = empty_moments(group, transformed_by());
    for (std::size_t b = 0; transforms_by_text() && b < states_.batches(); ++b) {
      visit_inputs(group, b, in_floats_, [&](const nn::Linear& l, Var x) {
        if (const auto H = all.find(&l); H != all.end()) H->second.accumulate(x.value().flat());
      });
    }
    for (const nn::Step& step : group) {
      std::vector<const Target*> readers;
      for_targets({&step, 1}, [&](const Target& t) { readers.push_back(&t); });
      if (readers.empty()) continue;
      const Transform by = method_.transform(readers, all.at(readers[0]->linear), options_);
      for (const Target* t : readers) moved_by_[t->weight] = by.measures;
      if (std::ranges::any_of(by.divide, [](real s) { return s != 1; })) {
        divide_input(step, by.divide);
      }
      for (const Target* t : readers) {
        if (!by.signs.empty()) rotate_input(*t, by.signs);
        if (!by.apart.empty()) set_apart(*t, by.apart);
      }
    }
  }

  /// The step's input becomes x_j / s_j, its columns w_ij s_j. What is before it absorbs the 1/s_j:
  /// the norm, or the rows of a linear that reach the columns one to one; else the input's map does.
  void divide_input(const nn::Step& step, std::span<const real> s) {
    multiply_columns(step, s);
    if (divide_before(step, s, step.source && done_.contains(step.source->weight))) return;
    for (const nn::Linear* l : step.linears) {
      Input& input = inputs_[l];
      for (const real v : s) input.change.multiply.push_back(1 / v);
      input.settle(l->in_features());
    }
  }

  void rotate_input(const Target& t, std::span<const std::int8_t> signs) {
    rotate_rows(t.weight->value.flat(), signs);
    Input& input = inputs_[t.linear];
    input.change.signs.assign(signs.begin(), signs.end());
    input.settle(t.linear->in_features());
  }

  void set_apart(const Target& t, const std::vector<std::int32_t>& channels) {
    const std::int64_t rows = t.weight->value.rows(), cols = t.weight->value.cols();
    SideProduct side{.channels = channels, .rank = std::ssize(channels)};
    for (std::int64_t r = 0; r < rows; ++r) {
      for (const std::int32_t c : channels) {
        real& w = t.weight->value.data[r * cols + c];
        side.up.push_back(as_f16(w));
        w = 0;
      }
    }
    Input& input = inputs_[t.linear];
    input.change.side = std::move(side);
    input.settle(cols);
  }

  // ---- rounding ----

  void round(Group group, const Moments& moments) {
    for_targets(group, [&](const Target& t) {
      const auto H = moments.find(t.linear);
      round(t, H == moments.end() ? nullptr : &H->second);
    });
  }

  /// Chooses what is pruned and the codes of the rest, and puts their values into the parameter.
  void round(const Target& t, const Hessian* H) {
    Done& done = done_[t.weight];
    const std::span<real> w = t.weight->value.flat();
    std::vector<real> dense;
    if (pruner_ && is_prunable(model_, t)) {
      Pruned pruned = pruner_->prune({.target = t, .w = w, .H = H}, options_.prune);
      dense.assign(w.begin(), w.end());
      std::ranges::copy(pruned.w, w.begin());
      done.keep = std::move(pruned.keep);
    }
    if (!method_.round) return;
    const MatrixView matrix{.target = t, .w = w, .H = H, .keep = done.keep, .dense = dense};
    Rounded chosen = method_.round(matrix, options_);
    done.q = std::move(chosen.q);
    nest_scales(done.q);
    if (chosen.side) {
      Input& input = inputs_[t.linear];
      input.change.side = std::move(chosen.side);
      input.settle(t.weight->value.cols());
    }
    done.report.measures = std::move(chosen.measures);
    for (const Measure& m : moved_by_[t.weight]) done.report.measures.push_back(m);
    done.report.name = t.name;
    done.report.spec = t.spec;
    const std::vector<real> rounded = dequantize(done.q);
    for (std::size_t i = 0; i < done.keep.size(); ++i)
      check(done.keep[i] != 0 || rounded[i] == 0, t.name, method_.name, " moved a pruned weight");
    measure_rounding(matrix.before(), rounded, done.report);
    std::ranges::copy(rounded, t.weight->value.data);
  }

  /// While the walk runs, tables stand at their round-to-nearest values; returns what they were.
  std::vector<std::vector<real>> round_tables() {
    std::vector<std::vector<real>> originals;
    for (const Target& t : targets_) {
      if (!is_table(t)) continue;
      const std::span<const real> w = t.weight->value.flat();
      originals.emplace_back(w.begin(), w.end());
      std::ranges::copy(dequantize(round_nearest(t, options_.gptq.range())), t.weight->value.data);
    }
    return originals;
  }

  void restore(const std::vector<std::vector<real>>& originals) {
    auto next = originals.begin();
    for (const Target& t : targets_) {
      if (is_table(t)) std::ranges::copy(*next++, t.weight->value.data);
    }
  }

  bool is_table(const Target& t) const {
    return std::ranges::any_of(model_.embeddings(),
                               [&](const nn::Embedding* e) { return e->weight == t.weight; });
  }
  const Target* target_of(const nn::Linear& linear) const {
    const auto at = std::ranges::find(targets_, &linear, &Target::linear);
    return at == targets_.end() ? nullptr : &*at;
  }
  template <class Visit>
  void for_targets(Group group, const Visit& visit) const {
    for (const nn::Step& step : group) {
      for (const nn::Linear* l : step.linears) {
        if (const Target* t = target_of(*l)) visit(*t);
      }
    }
  }

  nn::Model& model_;
  const Method& method_;
  const Pruner* pruner_;  // null: nothing is pruned
  std::span<const Target> targets_;
  std::span<const nn::Tokens> text_;
  const PostTrainingOptions& options_;
  TextStates states_;     // of the model that ships
  TextStates reference_;  // of the model before rounding, where the method asks for it
  std::map<const Param*, Done> done_;
  std::map<const Param*, std::vector<Measure>> moved_by_;  // of transforms
  std::map<const nn::Linear*, Input> inputs_;
  const TextStates::Input in_floats_ = [](const nn::Linear&, Var x) { return x; };
  const TextStates::Input shipped_ = [this](const nn::Linear& l, Var x) {
    const auto at = inputs_.find(&l);
    return at == inputs_.end() ? x : apply(x, at->second.ready.map);
  };
  const TextStates::Beside beside_ = [this](const nn::Linear& l, Var x) {
    const auto at = inputs_.find(&l);
    return at == inputs_.end() ? std::nullopt : side_product(x, at->second.ready);
  };
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
