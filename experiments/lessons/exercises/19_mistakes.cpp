// Exercise 19. Mend three programs that give no error message.
//
//   notch lesson check 19                 judges this file
//   notch lesson check 19 mine.cpp        judges a copy of it
//
// Each of the first three has one mistake of lesson 19. Mend them, and replace the BLANK: the number
// that would have shown the second.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"
#include "quant/numbers/spec.h"

namespace {

using notch::lessons::Floats;
using notch::lessons::StoredRow;
using notch::quant::round_scale;
using notch::quant::ScaleType;

/// Whether the straight-through estimator passes w's gradient on: whether w lies on the grid
/// (q - z) s, q in [qmin, qmax].
bool has_gradient(double w, double s, int z, int qmin, int qmax) {
  const double v = w / s;
  return v >= qmin && v <= qmax;
}

/// Codes -qmax … qmax of a row, and its scale max|w| / qmax in 16 bits (bf16), as both go into a file.
StoredRow stored(const Floats& w, int qmax) {
  StoredRow row;
  float largest = 0;
  for (const float v : w) largest = std::max(largest, std::fabs(v));
  row.scale = largest / static_cast<float>(qmax);
  for (const float v : w) {
    row.codes.push_back(std::clamp(static_cast<int>(std::nearbyint(v / row.scale)), -qmax, qmax));
  }
  row.scale = round_scale(row.scale, ScaleType::bf16);
  return row;
}

/// The best of AWQ's powers 0, 0.1, …, 1, so that the layer is never worse than without AWQ.
double best_power(double (*error)(double power)) {
  double best = 0.1;
  for (int tenth = 1; tenth <= 10; ++tenth) {
    if (error(tenth / 10.0) < error(best)) best = tenth / 10.0;
  }
  return best;
}

/// Σ (ŵ - w)², ŵ what a reader of the file gets.
double damage(const Floats& w, const StoredRow& row) {
  BLANK("the sum of the squares of code · scale - w");
}

}  // namespace

EXERCISE(judge_mistakes, has_gradient, stored, best_power, damage)
