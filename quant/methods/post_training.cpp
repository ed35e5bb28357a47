// The post-training walk: stage after stage, statistics from quantized predecessors.
#include <algorithm>
#include <map>

#include "quant/methods/calibration.h"
#include "quant/methods/recipes.h"
#include "quant/methods/tied_table.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {
namespace {

/// Puts the dequantized weights into the parameter and notes how far they moved.
void apply(const Target& t, const QTensor& q, LayerReport& report) {
  const std::vector<real> rounded = dequantize(q);
  report.name = t.name;
  report.spec = t.spec;
  measure_rounding(t.weight->value.flat(), rounded, report);
  std::ranges::copy(rounded, t.weight->value.data);
}

/// The post-training walk over one model.
class Walk {
 public:
  Walk(nn::ModelView& model, const Recipe& recipe, std::span<const Target> targets,
       std::span<const nn::Tokens> calibration, const PostTrainingOptions& options)
      : model_(model),
        recipe_(recipe),
        targets_(targets),
        calibration_(calibration),
        options_(options) {}

  Quantized run() {
    const bool calibrates = std::ranges::any_of(targets_, needs_calibration);
    if (recipe_.needs_hessian || calibrates) {
      check(!calibration_.empty(), recipe_.name, "needs calibration text and got none");
      const nn::Attachment products = reuse_products(), rounding = round_inputs();
      walk_stages();
    }
    // What is left: everything for recipes without statistics, tables that are only looked up.
    for (const Target& t : targets_) {
      if (!done_.contains(t.weight)) quantize_target(t, nullptr);
    }
    Quantized out;
    for (const Target& t : targets_) {
      out.tensors.push_back({t.weight->name, std::move(done_.at(t.weight).q), input_of(t)});
      out.layers.push_back(std::move(done_.at(t.weight).report));
    }
    return out;
  }

 private:
  struct Done {
    QTensor q{};
    LayerReport report{};
  };
  using Group = std::vector<const Target*>;

  void quantize_target(const Target& t, const Hessian* H) {
    if (recipe_.needs_reference) {
      const auto w = t.weight->value.flat();
      originals_[t.weight].assign(w.begin(), w.end());
    }
    Done& done = done_[t.weight];
    done.q = recipe_.round(t, H, options_, done.report);
    apply(t, done.q, done.report);
  }

  /// A layer that will not change any more, with no layer before it in the stage that will,
  /// multiplies once: its products are kept until the part it is in has run for the last time.
  nn::Attachment reuse_products() {
    return model_.hooks->linear_chain.attach(
        [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
          const Target* t = target_of(&linear);
          settled_ = settled_ && (as_trained_ || !t || done_.contains(t->weight));
          if (!running_ || !settled_) return next(g, linear, x);
          const auto earlier = running_->products.find(&linear);
          if (earlier == running_->products.end()) {
            const Var y = next(g, linear, x);
            if (last_run_) return y;
            std::vector<real>& kept = running_->products[&linear];
            if (!spare_.empty()) kept = std::move(spare_.back()), spare_.pop_back();
            kept.assign(y.value().flat().begin(), y.value().flat().end());
            return y;
          }
          const Shape shape = x.shape().with(x.shape().rank() - 1, linear.out_features());
          return g.constant({earlier->second.data(), shape}, "product");
        });
  }

  /// Every layer whose input range is known multiplies rounded inputs: statistics and hidden states
  /// are those of the model that is shipped.
  nn::Attachment round_inputs() {
    for (const Target& t : targets_) {
      if (t.input && !needs_calibration(t)) inputs_.emplace(t.linear, *t.input);
    }
    return model_.hooks->linear_chain.attach(
        [this](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
          const auto at = inputs_.find(&linear);
          if (as_trained_ || at == inputs_.end()) return next(g, linear, x);
          const Var rounded = quantize_input(x, {.input = at->second});
          return next(g, linear, rounded);
        });
  }

  std::optional<InputQuantizer> input_of(const Target& t) const {
    const auto at = inputs_.find(t.linear);
    return at == inputs_.end() ? t.input : at->second;
  }

  const Target* target_of(const nn::Linear* linear) const {
    const auto at = std::ranges::find(targets_, linear, &Target::linear);
    return at == targets_.end() ? nullptr : &*at;
  }

  void walk_stages() {
    const Target* tied = model_.head_is_tied() ? target_of(model_.head) : nullptr;
    if (recipe_.needs_hessian && tied) lookups_ = lookup_moment(model_, calibration_);
    start_hidden_states();
    for (const nn::Stage& stage : model_.stages) {
      for (const Group& group : groups_of(stage)) {
        observe(group, stage);
      }
      for (Hidden& h : reference_) run_as_trained(stage, h, true);
      for (Hidden& h : hidden_) run_stage(stage, h, true);
      originals_.clear();
    }
    restore_tables();
    if (const Target* head = target_of(model_.head)) observe_head(*head);
  }

  /// The head sees the last hidden states: no layer has to run to collect them.
  void observe_head(const Target& head) {
    if (needs_calibration(head)) {
      Observer observer(head.input->spec);
      for (const Hidden& h : hidden_) observer.observe(h.values);
      const UnitScale at = scale_range(observer.range(), unit_spec(head.input->spec), 1);
      inputs_.emplace(head.linear, InputQuantizer{head.input->spec, at});
    }
    if (!recipe_.needs_hessian) {
      quantize_target(head, nullptr);
      return;
    }
    // A tied table is looked up as well, so its codes stay close to the weights themselves.
    const bool drifts = recipe_.needs_reference && !is_table(head);
    Hessian H(model_.head->in_features());
    const auto input = inputs_.find(head.linear);
    for (std::size_t i = 0; i < hidden_.size(); ++i) {
      graph_.begin(Graph::Mode::inference);
      const Var x = graph_.constant({hidden_[i].values.data(), hidden_[i].shape}, "hidden");
      const Var seen = input == inputs_.end() ? x : quantize_input(x, {.input = input->second});
      if (drifts) {
        H.accumulate(seen.value().flat(), reference_[i].values);
      } else {
        H.accumulate(seen.value().flat());
      }
    }
    if (lookups_) H.add(*lookups_);
    quantize_target(head, &H);
  }

  std::vector<Group> groups_of(const nn::Stage& stage) const {
    std::vector<Group> groups;
    for (const nn::Linear* linear : stage.linears()) {
      const Target* t = target_of(linear);
      if (!t) continue;
      if (groups.empty() || options_.true_sequential) groups.emplace_back();
      groups.back().push_back(t);
    }
    return groups;
  }

  /// Finds the group's static input ranges over all calibration text, then the second moments of
  /// its rounded inputs, and rounds the group.
  void observe(const Group& group, const nn::Stage& stage) {
    find_ranges(group, stage);
    std::map<const nn::Linear*, Hessian> hessians;
    std::map<const nn::Linear*, std::vector<real>>
        reference;  // inputs of the model before rounding
    if (recipe_.needs_hessian) {
      for (const Target* t : group) hessians.emplace(t->linear, Hessian(t->linear->in_features()));
      const nn::Attachment statistics = model_.hooks->linear_chain.attach(
          [&](Graph& g, const nn::Linear& linear, Var x, const auto& next) -> Var {
            if (const auto H = hessians.find(&linear); H != hessians.end()) {
              const std::span<const real> in = x.value().flat();
              if (as_trained_) {
                reference[&linear].assign(in.begin(), in.end());
              } else if (recipe_.needs_reference) {
                H->second.accumulate(in, reference.at(&linear));
              } else {
                H->second.accumulate(in);
              }
            }
            if (&linear == group.back()->linear) throw SeenAll{};
            return next(g, linear, x);
          });
      for (std::size_t i = 0; i < hidden_.size(); ++i) {
        if (recipe_.needs_reference) run_as_trained(stage, reference_[i], false);
        run_stage(stage, hidden_[i], false);
      }
    }
    for (const Target* t : group) {
      quantize_target(*t, recipe_.needs_hessian ? &hessians.at(t->linear) : nullptr);
    }
  }

  void find_ranges(const Group& group, const nn::Stage& stage) {
    InputObservers observers(model_);
    for (const Target* t : group) {
      if (needs_calibration(*t)) observers.add(*t);
    }
    if (observers.empty()) return;
    observers.attach();
    for (Hidden& h : hidden_) run_stage(stage, h, false);
    for (const Target* t : group) {
      if (!needs_calibration(*t)) continue;
      inputs_.emplace(t->linear, InputQuantizer{t->input->spec, observers.range_of(*t)});
    }
  }

  /// Thrown by a layer whose product nobody reads: layers run in the order of their group, and the
  /// last one has been seen.
  struct SeenAll {};

  struct Hidden {
    Shape shape{};
    std::vector<real> values{};
    std::size_t parts = 0;  ///< of the stage, that these are the output of
    std::map<const nn::Linear*, std::vector<real>> products{};  ///< of the next part
  };

  std::vector<Hidden> embedded() {
    std::vector<Hidden> all;
    for (const nn::Tokens& tokens : calibration_) {
      graph_.begin(Graph::Mode::inference);
      const Var x = model_.embed(graph_, tokens);
      all.push_back(
          {.shape = x.shape(), .values = {x.value().flat().begin(), x.value().flat().end()}});
    }
    return all;
  }

  void start_hidden_states() {
    if (recipe_.needs_reference) reference_ = embedded();
    for (const Target& t : targets_) {
      if (!is_table(t)) continue;
      tables_.emplace_back(
          &t, std::vector<real>(t.weight->value.flat().begin(), t.weight->value.flat().end()));
      const std::vector<real> rounded = dequantize(round_nearest(t, options_.gptq.range));
      std::ranges::copy(rounded, t.weight->value.data);
    }
    hidden_ = embedded();
  }

  bool is_table(const Target& t) const {
    return std::ranges::any_of(model_.embeddings,
                               [&](const nn::Embedding* e) { return e->weight == t.weight; });
  }

  /// Gives the tables, none of which has its codes yet, their original values back.
  void restore_tables() {
    for (const auto& [t, values] : tables_) std::ranges::copy(values, t->weight->value.data);
  }

  /// Runs the stage up to the layer that throws SeenAll, or to its end, which with `last` is the
  /// end of the stage. A settled part runs for the last time: its output is the new hidden state.
  void run_stage(const nn::Stage& stage, Hidden& hidden, bool last) {
    graph_.begin(Graph::Mode::inference);
    Var x = graph_.constant({hidden.values.data(), hidden.shape}, "hidden");
    running_ = &hidden;
    last_run_ = last;
    settled_ = true;
    try {
      for (std::size_t p = hidden.parts; p < stage.parts.size(); ++p) {
        x = stage.parts[p].run(graph_, x);
        if (!settled_) continue;
        std::ranges::copy(x.value().flat(), hidden.values.begin());
        hidden.parts = p + 1;
        for (auto& [linear, kept] : hidden.products) spare_.push_back(std::move(kept));
        hidden.products.clear();
      }
    } catch (const SeenAll&) {
      // The graph recycles memory by the tape of the step before: an empty one promises nothing.
      graph_.begin(Graph::Mode::inference);
    }
    running_ = nullptr;
    if (last) hidden.parts = 0;
  }

  /// The same with the weights and inputs that the stage had before rounding.
  void run_as_trained(const nn::Stage& stage, Hidden& hidden, bool last) {
    const auto swap_weights = [&] {
      for (auto& [p, values] : originals_) std::ranges::swap_ranges(values, p->value.flat());
    };
    swap_weights();
    as_trained_ = true;
    run_stage(stage, hidden, last);
    as_trained_ = false;
    swap_weights();
  }

  nn::ModelView& model_;
  const Recipe& recipe_;
  std::span<const Target> targets_;
  std::span<const nn::Tokens> calibration_;
  const PostTrainingOptions& options_;
  Graph graph_;
  std::vector<Hidden> hidden_;
  std::optional<Hessian> lookups_;  // of the tied table
  std::vector<Hidden> reference_;   // of the model before rounding, where the recipe asks for it
  std::map<Param*, std::vector<real>> originals_;  // rounded weights of the stage, as they were
  bool as_trained_ = false;
  Hidden* running_ = nullptr;  // the state that a stage runs on
  bool last_run_ = false;      // of the stage on that state
  bool settled_ = true;        // whether the layers that have run will not change any more
  std::vector<std::vector<real>>
      spare_;  // of earlier products: fresh memory would be cleared first
  std::vector<std::pair<const Target*, std::vector<real>>> tables_;
  std::map<const Param*, Done> done_;
  std::map<const nn::Linear*, InputQuantizer> inputs_;  // whose ranges are known
};

}  // namespace

Quantized post_training(nn::ModelView& model, const Recipe& recipe, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options) {
  check(recipe.round != nullptr, recipe.name, "is not a post-training recipe");
  return Walk(model, recipe, targets, calibration, options).run();
}

}  // namespace notch::quant
