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
    BLANK("the code of v, within -qmax and qmax; then the square of its error");
  }
  return sum;
}

float best_scale(const Floats& w, int qmax) {
  float largest = 0;
  for (const float v : w) largest = std::max(largest, std::fabs(v));
  float best = largest / static_cast<float>(qmax);
  BLANK("try 99 % to 20 % of it; keep the best");
  return best;
}

}  // namespace

EXERCISE(judge_range, best_scale)
