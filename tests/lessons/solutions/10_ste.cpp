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
  return s * std::clamp<double>(std::nearbyint(w / s), qmin, qmax);
}

/// dL/dw by the clipped straight-through estimator, when `slope` is dL/dŵ.
double straight_through(double slope, double w, double s, int qmin, int qmax) {
  return w / s >= qmin && w / s <= qmax ? slope : 0;
}

/// How often ŵ changes while `steps` steps of gradient descent with the rate `rate` minimise
/// (ŵ - target)² from w, on the codes -7 … 7.
int flips(double w, double target, double s, double rate, int steps) {
  int count = 0;
  double before = rounded(w, s, -7, 7);
  for (int step = 0; step < steps; ++step) {
    w -= rate * straight_through(2 * (before - target), w, s, -7, 7);
    const double now = rounded(w, s, -7, 7);
    if (now != before) ++count;
    before = now;
  }
  return count;
}

}  // namespace

EXERCISE(judge_ste, rounded, straight_through, flips)
