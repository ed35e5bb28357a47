// The post-training walk, a plain loop: stage after stage, and in it group after group of steps (the
// whole stage, or with true-sequential order each step by itself).
//
//   for every group:  move scales from inputs into weights, where the method does (a pass over the text)
//                     find the static ranges of the inputs                         (a pass)
//                     collect the second moments of the inputs                     (a pass)
//                     round the matrices
//                     go on, through the group as it ships now                     (a pass)
//
// A method that compares with the model before rounding has states of that model beside the text's,
// which go on before the group is rounded.
#include "quant/methods/post_training.h"

#include <algorithm>
#include <map>

#include "quant/methods/calibration.h"
#include "quant/methods/prune.h"
#include "quant/methods/rtn.h"
#include "quant/methods/text_states.h"
#include "quant/methods/tied_table.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

using Group = TextStates::Group;
using Moments = std::map<const nn::Linear*, Hessian>;

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
      if (t.input && !needs_calibration(t)) inputs_[t.linear].round = t.input;
      if (pruner_ && method_.round && is_prunable(model_, t)) require_zero(t.spec, t.name);
    }
  }

  Quantized run() {
    if (needs_text(&method_, targets_, options_)) {
      check(!text_.empty(), method_.name, "needs calibration text and got none");
      walk_stages();
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
      InputMap input = inputs_[t.linear];
      out.tensors.push_back({t.weight->name, std::move(done_.at(t.weight).q),
                             input.round ? input.round : t.input, std::move(input.multiply)});
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
        for (std::size_t b = 0; b < states_.batches(); ++b) states_.advance(group, b, shipped_);
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
    Moments all;
    if (!method_.needs.hessian && !(pruner_ && pruner_->needs_inputs)) return all;
    for_targets(group, [&](const Target& t) {
      all.emplace(t.linear, Hessian(t.linear->in_features(), method_.needs.magnitudes));
    });
    std::map<const nn::Linear*, std::vector<real>> reference;
    const auto trained = [](const nn::Linear&, Var x) { return x; };
    for (std::size_t b = 0; b < states_.batches(); ++b) {
      if (drifts) {
        reference_.advance(group, b, trained, [&](const nn::Linear& l, Var x) {
          if (!all.contains(&l)) return;
          reference[&l].assign(x.value().flat().begin(), x.value().flat().end());
        });
      }
      visit_inputs(group, b, [&](const nn::Linear& l, Var x) {
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

  void find_ranges(Group group) {
    std::map<const nn::Linear*, Observer> observers;
    for_targets(group, [&](const Target& t) {
      if (needs_calibration(t)) observers.emplace(t.linear, Observer(t.input->spec));
    });
    if (observers.empty()) return;
    for (std::size_t b = 0; b < states_.batches(); ++b) {
      visit_inputs(group, b, [&](const nn::Linear& l, Var x) {
        const auto at = observers.find(&l);
        if (at != observers.end()) at->second.observe(x.value().flat());
      });
    }
    for (const auto& [l, observer] : observers) {
      const ActivationSpec& spec = target_of(*l)->input->spec;
      inputs_[l].round = InputQuantizer{spec, input_range(spec, observer, l->name)};
    }
  }

  /// As far as the input of the group's last target: no product is made that none of them needs.
  void visit_inputs(Group group, std::size_t batch, const TextStates::Seen& seen) {
    const auto has_target = [&](const nn::Step& step) {
      return std::ranges::any_of(step.linears, [&](const nn::Linear* l) { return target_of(*l); });
    };
    while (!group.empty() && !has_target(group.back())) group = group.first(group.size() - 1);
    if (!group.empty()) states_.visit(group, batch, shipped_, seen);
  }

  // ---- scales that move ----

  void transform(Group group) {
    const Moments all = moments(group, false);
    for (const nn::Step& step : group) {
      std::vector<const Target*> readers;
      for_targets({&step, 1}, [&](const Target& t) { readers.push_back(&t); });
      if (readers.empty()) continue;
      const Divisors by = method_.transform(readers, all.at(readers[0]->linear));
      for (const Target* t : readers) moved_by_[t->weight] = by.measures;
      if (std::ranges::any_of(by.s, [](real s) { return s != 1; })) divide_input(step, by.s);
    }
  }

  /// The step's input becomes x_j / s_j, its columns w_ij s_j. What is before it absorbs the 1/s_j:
  /// the norm, or the rows of a linear that reach the columns one to one; else the input's map does.
  void divide_input(const nn::Step& step, std::span<const real> s) {
    const auto columns = std::ssize(s);
    for (const nn::Linear* l : step.linears) {
      const std::span<real> w = l->weight->value.flat();
      for (std::size_t i = 0; i < w.size(); ++i) w[i] *= s[i % s.size()];
    }
    const auto divide = [&](Param* p, std::int64_t first) {
      if (!p) return;
      const std::int64_t width = p->value.size() / p->value.shape[0];
      for (std::int64_t j = 0; j < columns; ++j)
        for (std::int64_t k = 0; k < width; ++k)
          p->value.data[(first + j) * width + k] /= s[static_cast<std::size_t>(j)];
    };
    if (step.norm) {
      divide(step.norm->weight, 0);
      divide(step.norm->bias, 0);
    } else if (step.source && !done_.contains(step.source->weight) &&
               step.source_row + columns == step.source->out_features()) {
      divide(step.source->weight, step.source_row);
      divide(step.source->bias, step.source_row);
    } else {
      for (const nn::Linear* l : step.linears) {
        std::vector<real>& multiply = inputs_[l].multiply;
        for (const real v : s) multiply.push_back(1 / v);
      }
    }
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
  std::map<const nn::Linear*, InputMap> inputs_;           // as far as they are known
  const TextStates::Input shipped_ = [this](const nn::Linear& l, Var x) {
    const auto at = inputs_.find(&l);
    return at == inputs_.end() ? x : apply(x, at->second);
  };
};

}  // namespace

Quantized post_training(nn::Model& model, const Method& method, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options) {
  check(method.round != nullptr, method.name, "does not round after training");
  return Walk(model, method, targets, calibration, options).run();
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
  return (method && method->needs.hessian) || (pruner && pruner->needs_inputs) ||
         std::ranges::any_of(targets, needs_calibration);
}

}  // namespace notch::quant
