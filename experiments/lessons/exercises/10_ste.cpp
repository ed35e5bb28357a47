// Exercise 10. Round, pass the gradient through, and watch a weight oscillate.
//
//   notch lesson check 10                 judges this file
//   notch lesson check 10 mine.cpp        judges a copy of it
//
// Replace every BLANK.
#include <algorithm>
#include <cmath>

#include "experiments/lessons/judges.h"

namespace {

/// ŵ: the nearest point of the grid s · (qmin … qmax). Of two equally near codes the even one.
double rounded(double w, double s, int qmin, int qmax) {
  BLANK("w in steps, rounded by std::nearbyint, cut to the codes, times s");
}

/// dL/dw by the clipped straight-through estimator, when `slope` is dL/dŵ.
double straight_through(double slope, double w, double s, int qmin, int qmax) {
  BLANK("slope where w/s is inside the grid, its ends included; else 0");
}

/// How often ŵ changes while `steps` steps of gradient descent with the rate `rate` minimise
/// (ŵ - target)² from w, on the codes -7 … 7.
int flips(double w, double target, double s, double rate, int steps) {
  int count = 0;
  BLANK("`steps` times: move w against its gradient; count when ŵ is not the one before");
  return count;
}

}  // namespace

EXERCISE(judge_ste, rounded, straight_through, flips)
