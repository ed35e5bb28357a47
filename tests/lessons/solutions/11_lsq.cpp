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
  const double v = w / s;
  if (v <= qmin) return qmin;
  if (v >= qmax) return qmax;
  return std::nearbyint(v) - v;
}

/// dL/ds of weights that share the step s, when slopes[i] is dL/dŵ of w[i]; with LSQ's factor
/// 1/√(weights · qmax).
double step_gradient(const std::vector<double>& w, const std::vector<double>& slopes, double s,
                     int qmin, int qmax) {
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i) sum += slopes[i] * step_slope(w[i], s, qmin, qmax);
  return sum / std::sqrt(static_cast<double>(w.size()) * qmax);
}

/// s after one step of gradient descent on log s with the rate `rate`, when `gradient` is dL/ds.
double move_log(double s, double gradient, double rate) {
  return std::exp(std::log(s) - rate * s * gradient);
}

}  // namespace

EXERCISE(judge_lsq, step_slope, step_gradient, move_log)
