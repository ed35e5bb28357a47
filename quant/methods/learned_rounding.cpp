#include "quant/methods/learned_rounding.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/ops.h"
#include "quant/methods/shipped_inputs.h"
#include "quant/methods/text_states.h"

namespace notch::quant {
namespace {

/// Hidden states of a few windows between two blocks.
struct States {
  Shape shape{};
  std::vector<real> shipped{}, wanted{};  // of the model that ships, of the one before rounding
};

std::vector<real> copy(Var v) {
  const std::span<const real> values = v.value().flat();
  return {values.begin(), values.end()};
}

double distance(std::span<const real> a, std::span<const real> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

class Walk {
 public:
  Walk(const Refinement& work, int steps, int windows, const MakeLearner& make)
      : work_(work),
        steps_(steps),
        make_(make),
        reference_(nn::clone(work.reference)),
        inputs_(work.model, work.targets, work.quantized) {
    Graph reference;
    for (const nn::Tokens& part : in_pieces(work.text, windows)) {
      graph_.begin(Graph::Mode::inference);
      reference.begin(Graph::Mode::inference);
      const Var x = work.model.embed(graph_, part);
      states_.push_back({.shape = x.shape(),
                         .shipped = copy(x),
                         .wanted = copy(reference_->embed(reference, part))});
    }
    weight_ =
        work.model.hooks().weight_chain.attach([this](Graph& g, Param& p, const auto& next) -> Var {
          const auto at = learners_.find(&p);
          return at == learners_.end() ? next(g, p) : at->second->weights(g);
        });
  }

  void run() {
    const std::vector<nn::Stage> ours = work_.model.stages(), theirs = reference_->stages();
    for (std::size_t i = 0; i < ours.size(); ++i) {
      for (States& s : states_) s.wanted = through(theirs[i], s.shape, s.wanted);
      learn(ours[i]);
      for (States& s : states_) s.shipped = through(ours[i], s.shape, s.shipped);
    }
  }

 private:
  std::vector<real> through(const nn::Stage& stage, const Shape& shape, std::span<const real> x) {
    graph_.begin(Graph::Mode::inference);
    return copy(stage.run(graph_, graph_.constant({const_cast<real*>(x.data()), shape}, "states")));
  }

  /// Σ |y - ŷ|² over all text, with the parameters as they are.
  double error(const nn::Stage& stage) {
    double sum = 0;
    for (const States& s : states_) sum += distance(through(stage, s.shape, s.shipped), s.wanted);
    return sum;
  }

  void learn(const nn::Stage& stage) {
    std::vector<std::size_t> mine;
    const std::vector<nn::Linear*> linears = stage.linears();
    for (std::size_t i = 0; i < work_.targets.size(); ++i) {
      if (std::ranges::find(linears, work_.targets[i].linear) != linears.end()) mine.push_back(i);
    }
    if (mine.empty()) return;
    const double nearest = error(stage);
    if (!(nearest > 0)) return;  // rounding changed nothing
    check(std::isfinite(nearest), stage.name, "the output of the rounded block is not finite");
    ParamStore store;
    std::deque<std::unique_ptr<LearnedRounding>> made;
    for (const std::size_t i : mine) {
      const Target& t = work_.targets[i];
      made.push_back(make_(t, work_.reference.params().find(t.weight->name)->value.flat(),
                           work_.quantized.tensors[i].q, store));
      learners_[t.weight] = made.back().get();
    }
    store.allocate_values();
    store.allocate_gradients();
    for (const auto& learner : made) learner->begin();
    double all = 0;
    for (const States& s : states_) all += static_cast<double>(s.shipped.size());
    for (int step = 0; step < steps_; ++step) {
      const States& s = states_[static_cast<std::size_t>(step) % states_.size()];
      // As much of the whole error as these windows are of the text.
      const double unit = nearest * static_cast<double>(s.shipped.size()) / all;
      store.zero_gradients();
      graph_.begin(Graph::Mode::training);
      const auto constant = [&](const std::vector<real>& v) {
        return graph_.constant({const_cast<real*>(v.data()), s.shape}, "states");
      };
      const Var gap = sub(stage.run(graph_, constant(s.shipped)), constant(s.wanted));
      const Var loss = scale(sum(mul(gap, gap)), 1 / unit);
      graph_.backward(loss);
      const double done = static_cast<double>(step) / steps_;
      for (const auto& learner : made) learner->step(done, static_cast<double>(loss.item()));
    }
    learners_.clear();
    for (std::size_t k = 0; k < mine.size(); ++k) {
      QTensor& q = work_.quantized.tensors[mine[k]].q;
      q = made[k]->settled();
      dequantize(q, work_.targets[mine[k]].weight->value.flat());
    }
    work_.quantized.layers[mine[0]].measures.push_back({"block_error", error(stage) / nearest});
  }

  const Refinement& work_;
  int steps_;
  const MakeLearner& make_;
  std::unique_ptr<nn::Model> reference_;
  ShippedInputs inputs_;
  Graph graph_;
  std::vector<States> states_;
  std::map<const Param*, LearnedRounding*> learners_;
  nn::Attachment weight_;
};

}  // namespace

void learn_rounding(const Refinement& work, int steps, int windows, const MakeLearner& make) {
  check(!work.text.empty(), "learned rounding", "needs calibration text and got none");
  check(work.quantized.tensors.size() == work.targets.size() &&
            work.quantized.layers.size() == work.targets.size() && make,
        "learned rounding", work.targets.size(), " targets with the codes of ",
        work.quantized.tensors.size());
  Walk(work, steps, windows, make).run();
}

}  // namespace notch::quant
