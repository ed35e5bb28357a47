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
  BLANK("count the step; mix g into m and g g into v");
  double m_hat = 0, v_hat = 0;
  BLANK("m_hat and v_hat: m and v, corrected for having begun at 0");
  BLANK("take the decay, lr * decay * w, and the step, lr * m_hat / (√v_hat + ε), off w");
}

}  // namespace

EXERCISE(judge_adamw, step)
