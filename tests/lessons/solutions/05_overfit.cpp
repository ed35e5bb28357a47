// Exercise 05. Write the training loop.
//
//   notch lesson check 05                 judges this file
//   notch lesson check 05 mine.cpp        judges a copy of it
//
// Useful: model.loss(g, batch) records the loss; model.params() has zero_gradients() and params(),
// and each Param has value.flat() and grad.flat(). Gradients have their memory. Replace every BLANK.
#include <cstddef>

#include "experiments/lessons/judges.h"

namespace {

using namespace notch;

/// `steps` steps of gradient descent; returns the loss of the last forward.
double train(nn::Gpt& model, const nn::Batch& batch, int steps, double lr) {
  Graph g;
  double last = 0;
  for (int step = 0; step < steps; ++step) {
    g.begin(Graph::Mode::training);
    const Var loss = model.loss(g, batch);
    last = static_cast<double>(loss.item());
    model.params().zero_gradients();
    g.backward(loss);
    for (Param& p : model.params().params()) {
      for (std::size_t i = 0; i < p.value.flat().size(); ++i) {
        p.value.flat()[i] -= static_cast<real>(lr) * p.grad.flat()[i];
      }
    }
  }
  return last;
}

}  // namespace

EXERCISE(judge_overfit, train)
