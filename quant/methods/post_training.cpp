// The post-training walk, a plain loop: stage after stage, and in it group after group of steps (the
// whole stage, or with true-sequential order each step by itself).
//
//   for every group:  find the static ranges of its inputs           (a pass over the text)
//                     collect the second moments of its inputs       (a pass, as far as the last input)
//                     round its matrices
//                     go on: run it as it ships now                  (a pass; its states replace the old)
//
// Between groups a batch of text is data, the model's State: what is settled is never run again. A
// method that compares with the model before rounding has states of that model beside them, which
// go on before the group is rounded.
#include "quant/methods/post_training.h"

#include <algorithm>
#include <map>

#include "quant/methods/calibration.h"
#include "quant/methods/rtn.h"
#include "quant/methods/tied_table.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

using Group = std::span<const nn::Step>;

/// A batch of text between two steps: nn::State as data.
struct Held {
  Shape shape{}, inner_shape{};
  std::vector<real> residual{}, inner{};
};

class Walk {
 public:
  Walk(nn::ModelView& model, const Method& method, std::span<const Target> targets,
       std::span<const nn::Tokens> calibration, const PostTrainingOptions& options)
      : model_(model),
        method_(method),
        targets_(targets),
        calibration_(calibration),
        options_(options) {
    for (const Target& t : targets_) {
      if (t.input && !needs_calibration(t)) inputs_.emplace(t.linear, *t.input);
    }
  }

  Quantized run() {
    if (method_.needs.hessian || std::ranges::any_of(targets_, needs_calibration)) {
      check(!calibration_.empty(), method_.name, "needs calibration text and got none");
      walk_stages();
    }
    // What is left: everything for methods without statistics, tables that are only looked up.
    for (const Target& t : targets_) {
      if (!done_.contains(t.weight)) round(t, nullptr);
    }
    Quantized out;
    for (const Target& t : targets_) {
      const auto input = inputs_.find(t.linear);
      out.tensors.push_back({t.weight->name, std::move(done_.at(t.weight).q),
                             input == inputs_.end() ? t.input : input->second});
      out.layers.push_back(std::move(done_.at(t.weight).report));
    }
    return out;
  }

 private:
  struct Done {
    QTensor q{};
    LayerReport report{};
  };
  enum class As { trained, shipped };  // as trained: no input is rounded

  void walk_stages() {
    const nn::Step head{.linears = {model_.head},
                        .input = [](Graph&, const nn::State& s) { return s.residual; }};
    const bool tied = model_.head_is_tied() && target_of(model_.head);
    std::optional<Hessian> lookups;
    if (method_.needs.hessian && tied) lookups = lookup_moment(model_, calibration_);
    if (method_.needs.drift) reference_ = embedded();
    const std::vector<std::vector<real>> tables = round_tables();
    states_ = embedded();
    for (const nn::Stage& stage : model_.stages) {
      const std::size_t size = options_.gptq.true_sequential ? 1 : stage.steps.size();
      for (std::size_t i = 0; i < stage.steps.size(); i += size) {
        const Group group(stage.steps.data() + i, size);
        Moments moments = observe(group, method_.needs.drift);
        round(group, moments);
        for (Held& held : states_) advance(group, held, As::shipped);
      }
    }
    restore(tables);
    // The head sees the last states. A tied table is looked up as well, so its codes stay close to
    // the weights themselves: no drift, and what lookups weigh.
    Moments moments = observe({&head, 1}, method_.needs.drift && !tied);
    if (lookups && !moments.empty()) moments.at(model_.head).add(*lookups);
    round({&head, 1}, moments);
  }

  // ---- statistics ----

  using Moments = std::map<const nn::Linear*, Hessian>;

  /// Finds the group's static input ranges over all calibration text, then the second moments of
  /// its rounded inputs, where `drifts` beside what the model before rounding multiplies. Leaves
  /// that model's states behind the group.
  Moments observe(Group group, bool drifts) {
    find_ranges(group);
    Moments moments;
    if (!method_.needs.hessian) return moments;
    for (const nn::Step& step : group) {
      for (const nn::Linear* l : step.linears) {
        if (target_of(l)) moments.emplace(l, Hessian(l->in_features()));
      }
    }
    for (std::size_t i = 0; i < states_.size(); ++i) {
      std::map<const nn::Linear*, std::vector<real>> reference;
      if (drifts) {
        advance(group, reference_[i], As::trained, [&](const nn::Linear* l, Var x) {
          if (!moments.contains(l)) return;
          reference[l].assign(x.value().flat().begin(), x.value().flat().end());
        });
      }
      visit_inputs(group, states_[i], [&](const nn::Linear* l, Var x) {
        const auto H = moments.find(l);
        if (H == moments.end()) return;
        if (drifts) {
          H->second.accumulate(x.value().flat(), reference.at(l));
        } else {
          H->second.accumulate(x.value().flat());
        }
      });
    }
    return moments;
  }

  void find_ranges(Group group) {
    std::map<const nn::Linear*, Observer> observers;
    for (const nn::Step& step : group) {
      for (const nn::Linear* l : step.linears) {
        const Target* t = target_of(l);
        if (t && needs_calibration(*t)) observers.emplace(l, Observer(t->input->spec));
      }
    }
    if (observers.empty()) return;
    for (const Held& held : states_) {
      visit_inputs(group, held, [&](const nn::Linear* l, Var x) {
        if (const auto at = observers.find(l); at != observers.end()) {
          at->second.observe(x.value().flat());
        }
      });
    }
    for (const auto& [l, observer] : observers) {
      const ActivationSpec& spec = target_of(l)->input->spec;
      inputs_.emplace(l, InputQuantizer{spec, input_range(spec, observer, l->name)});
    }
  }

  // ---- running ----

  /// seen(linear, x) for the input of every linear of the group that is a target, in order; no
  /// product is made that no such input needs.
  template <class Seen>
  void visit_inputs(Group group, const Held& held, const Seen& seen) {
    while (!group.empty() && !has_target(group.back())) group = group.first(group.size() - 1);
    if (group.empty()) return;
    nn::State state = begin(held);
    for (const nn::Step& step : group.first(group.size() - 1)) run(step, state, As::shipped, seen);
    const Var x = group.back().input(graph_, state);
    for (const nn::Linear* l : group.back().linears) seen(l, input(*l, x, As::shipped));
  }

  void advance(Group group, Held& held, As as) {
    advance(group, held, as, [](const nn::Linear*, Var) {});
  }
  template <class Seen>
  void advance(Group group, Held& held, As as, const Seen& seen) {
    nn::State state = begin(held);
    for (const nn::Step& step : group) run(step, state, as, seen);
    const auto hold = [](std::vector<real>& to, Shape& shape, Var v) {
      shape = v.shape();
      if (v.value().data != to.data()) to.assign(v.value().flat().begin(), v.value().flat().end());
    };
    hold(held.residual, held.shape, state.residual);
    if (state.inner.graph) {
      hold(held.inner, held.inner_shape, state.inner);
    } else {
      held.inner.clear();
    }
  }

  template <class Seen>
  void run(const nn::Step& step, nn::State& state, As as, const Seen& seen) {
    std::vector<Var> products;
    if (!step.linears.empty()) {
      const Var x = step.input(graph_, state);
      for (const nn::Linear* l : step.linears) {
        const Var in = input(*l, x, as);
        seen(l, in);
        if (step.take) products.push_back((*l)(graph_, in));
      }
    }
    if (!step.take) return;  // nothing is behind the head
    step.take(graph_, state, products);
    // A pass that ends at an input reads less of the state than one that goes on, and inference
    // recycles values by what the pass before read.
    graph_.keep(state.residual);
    if (state.inner.graph) graph_.keep(state.inner);
  }

  /// What the layer multiplies x by: where its range is known, x rounded.
  Var input(const nn::Linear& linear, Var x, As as) {
    const auto at = inputs_.find(&linear);
    return as == As::trained || at == inputs_.end() ? x : quantize_input(x, {.input = at->second});
  }

  nn::State begin(const Held& held) {
    graph_.begin(Graph::Mode::inference);
    const auto constant = [&](const std::vector<real>& values, const Shape& shape) {
      return graph_.constant({const_cast<real*>(values.data()), shape}, "hidden");
    };
    nn::State state{.residual = constant(held.residual, held.shape)};
    if (!held.inner.empty()) state.inner = constant(held.inner, held.inner_shape);
    return state;
  }

  std::vector<Held> embedded() {
    std::vector<Held> all;
    for (const nn::Tokens& tokens : calibration_) {
      graph_.begin(Graph::Mode::inference);
      const Var x = model_.embed(graph_, tokens);
      const std::span<const real> values = x.value().flat();
      all.push_back({.shape = x.shape(), .residual = {values.begin(), values.end()}});
    }
    return all;
  }

  // ---- rounding ----

  void round(Group group, const Moments& moments) {
    for (const nn::Step& step : group) {
      for (const nn::Linear* l : step.linears) {
        const Target* t = target_of(l);
        const auto H = moments.find(l);
        if (t) round(*t, H == moments.end() ? nullptr : &H->second);
      }
    }
  }

  /// Chooses the codes and puts their values into the parameter.
  void round(const Target& t, const Hessian* H) {
    Done& done = done_[t.weight];
    Rounded chosen = method_.round({.target = t, .w = t.weight->value.flat(), .H = H}, options_);
    done.q = std::move(chosen.q);
    done.report.measures = std::move(chosen.measures);
    done.report.name = t.name;
    done.report.spec = t.spec;
    const std::vector<real> rounded = dequantize(done.q);
    measure_rounding(t.weight->value.flat(), rounded, done.report);
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
    return std::ranges::any_of(model_.embeddings,
                               [&](const nn::Embedding* e) { return e->weight == t.weight; });
  }
  const Target* target_of(const nn::Linear* linear) const {
    const auto at = std::ranges::find(targets_, linear, &Target::linear);
    return at == targets_.end() ? nullptr : &*at;
  }
  bool has_target(const nn::Step& step) const {
    return std::ranges::any_of(step.linears, [&](const nn::Linear* l) { return target_of(l); });
  }

  nn::ModelView& model_;
  const Method& method_;
  std::span<const Target> targets_;
  std::span<const nn::Tokens> calibration_;
  const PostTrainingOptions& options_;
  Graph graph_;
  std::vector<Held> states_;     // of the model that ships, batch by batch
  std::vector<Held> reference_;  // of the model before rounding, where the method asks for it
  std::map<const Param*, Done> done_;
  std::map<const nn::Linear*, InputQuantizer> inputs_;  // whose ranges are known
};

}  // namespace

Quantized post_training(nn::ModelView& model, const Method& method, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options) {
  check(method.round != nullptr, method.name, "does not round after training");
  return Walk(model, method, targets, calibration, options).run();
}

}  // namespace notch::quant
