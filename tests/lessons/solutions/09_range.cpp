// Exercise 09. Search the range.
//
//   notch lesson check 09                 judges this file
//   notch lesson check 09 mine.cpp        judges a copy of it
//
// Codes are -qmax to qmax. Try the scales 1.00, 0.99, ... 0.20 times max|w| / qmax and take the one
// with the least sum of squared errors; of equal ones the largest. Replace every BLANK.
#include <algorithm>
#include <cmath>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Floats;

/// Σ (w - q s)².
double squared_error(const Floats& w, float s, int qmax) {
  double sum = 0;
  for (const float v : w) {
    const auto end = static_cast<float>(qmax);
    const float q = std::clamp(std::nearbyint(v / s), -end, end);
    sum += std::pow(static_cast<double>(v) - static_cast<double>(q) * static_cast<double>(s), 2);
  }
  return sum;
}

float best_scale(const Floats& w, int qmax) {
  float largest = 0;
  for (const float v : w) largest = std::max(largest, std::fabs(v));
  float best = largest / static_cast<float>(qmax);
  double least = squared_error(w, best, qmax);
  for (int percent = 99; percent >= 20; --percent) {
    const float s = static_cast<float>(percent) / 100 * largest / static_cast<float>(qmax);
    const double error = squared_error(w, s, qmax);
    if (error < least) least = error, best = s;
  }
  return best;
}

}  // namespace

EXERCISE(judge_range, best_scale)
