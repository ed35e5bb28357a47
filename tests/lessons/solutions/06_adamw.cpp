// Exercise 06. Write AdamW for one weight.
//
//   notch lesson check 06                 judges this file
//   notch lesson check 06 mine.cpp        judges a copy of it
//
// β1 = 0.9, β2 = 0.999, ε = 1e-8. state.t counts the steps made; m and v begin at 0. Replace every
// BLANK.
#include <cmath>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::AdamState;

void step(double& w, AdamState& state, double g, double lr, double decay) {
  ++state.t;
  state.m = 0.9 * state.m + 0.1 * g;
  state.v = 0.999 * state.v + 0.001 * g * g;
  double m_hat = 0, v_hat = 0;
  m_hat = state.m / (1 - std::pow(0.9, state.t));
  v_hat = state.v / (1 - std::pow(0.999, state.t));
  w -= lr * decay * w;
  w -= lr * m_hat / (std::sqrt(v_hat) + 1e-8);
}

}  // namespace

EXERCISE(judge_adamw, step)
