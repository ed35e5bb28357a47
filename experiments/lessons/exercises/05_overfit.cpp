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
    BLANK("begin a tape; forward; note the loss; zero the gradients; backward");
    for (Param& p : model.params().params()) {
      BLANK("take lr times the gradient off every element");
    }
  }
  return last;
}

}  // namespace

EXERCISE(judge_overfit, train)
