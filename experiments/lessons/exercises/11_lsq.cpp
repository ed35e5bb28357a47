// Exercise 11. LSQ's gradient of a step.
//
//   notch lesson check 11                 judges this file
//   notch lesson check 11 mine.cpp        judges a copy of it
//
// Replace every BLANK.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

/// dŵ/ds of ŵ = s · round(cut(w/s)), with rint counted as the identity.
double step_slope(double w, double s, int qmin, int qmax) {
  BLANK("the end of the grid for a clipped weight; else code - v, with v = w/s");
}

/// dL/ds of weights that share the step s, when slopes[i] is dL/dŵ of w[i]; with LSQ's factor
/// 1/√(weights · qmax).
double step_gradient(const std::vector<double>& w, const std::vector<double>& slopes, double s,
                     int qmin, int qmax) {
  BLANK("the chain rule over all weights, then the factor");
}

/// s after one step of gradient descent on log s with the rate `rate`, when `gradient` is dL/ds.
double move_log(double s, double gradient, double rate) {
  BLANK("dL/d(log s) is s dL/ds; move log s, and return s");
}

}  // namespace

EXERCISE(judge_lsq, step_slope, step_gradient, move_log)
