#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_overfit(Judge& judge,
                   double (*train)(nn::Gpt& model, const nn::Batch& batch, int steps, double lr)) {
  const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 0, 2, 6, 5};
  const nn::Batch batch{.tokens = {.ids = std::span(ids).first(8), .B = 1, .T = 8},
                        .targets = std::span(ids).subspan(1)};
  const nn::GptConfig config{
      .vocab_size = 7, .block_size = 8, .n_layer = 1, .n_head = 2, .n_embd = 16};
  // After n steps every weight is where it was, less lr times the gradient there.
  const double lr = 0.1;
  for (const int steps : {1, 2}) {
    nn::Gpt model(config), own(config);
    for (nn::Gpt* m : {&model, &own}) {
      m->init(5);
      m->params().allocate_gradients();
    }
    double loss = 0;
    for (int i = 0; i < steps; ++i) {
      Graph g;
      g.begin(Graph::Mode::training);
      const Var l = own.loss(g, batch);
      loss = static_cast<double>(l.item());
      own.params().zero_gradients();
      g.backward(l);
      for (Param& p : own.params().params()) {
        for (std::size_t k = 0; k < p.value.flat().size(); ++k) {
          p.value.flat()[k] -= static_cast<real>(lr) * p.grad.flat()[k];
        }
      }
    }
    const double said = train(model, batch, steps, lr);
    judge.equal(str("loss that train() returns after ", steps, " step(s)"), said, loss, 1e-5,
                "the loss of the last forward, before its step");
    for (std::size_t i = 0; i < own.params().params().size(); ++i) {
      const Param &mine = own.params().params()[i], &theirs = model.params().params()[i];
      const auto values = mine.value.flat();
      judge.equal(str(mine.name, " after ", steps, " step(s)"), theirs.value.flat(),
                  Vector(values.begin(), values.end()), 1e-5,
                  steps == 1 ? "weight -= lr * gradient, of every parameter"
                             : "set gradients to zero before each backward, not after the loop");
    }
    if (judge.failed() > 0) return;
  }
  nn::Gpt model(config);
  model.init(5);
  model.params().allocate_gradients();
  judge.holds("the loss falls below 0.1 in 300 steps with learning rate 0.3",
              train(model, batch, 300, 0.3) < 0.1, "each step needs a forward of its own");
}

}  // namespace notch::lessons
