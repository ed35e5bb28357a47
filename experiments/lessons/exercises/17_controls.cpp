// Exercise 17. Two rows that may be compared.
//
//   notch lesson check 17                 judges this file
//   notch lesson check 17 mine.cpp        judges a copy of it
//
// QAT trained longer than fp32 did. The control got the same steps on the same text without the
// quantizer; control_rtn is the control, rounded to nearest. Both blanks have to pick the right two
// or three rows of the five. Replace every BLANK.
#include <cmath>
#include <cstddef>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Difference;
using notch::lessons::SeedLosses;

/// What the bits cost QAT, in nats: the mean over seeds of its difference from the row that had
/// everything but the quantizer, and the standard error of that mean, s / √n with
/// s² = Σ (difference - mean)² / (n - 1).
Difference cost(const std::vector<SeedLosses>& seeds) {
  const double n = static_cast<double>(seeds.size());
  Difference found;
  BLANK("take the difference within each seed first; then their mean and its error");
  return found;
}

/// The share of what rounding costs the control that QAT saves, of the mean losses: 1 if QAT is as
/// good as the control, 0 if it is no better than the control's nearest codes.
double recovered(const std::vector<SeedLosses>& seeds) {
  double saved = 0, lost = 0;
  BLANK("add up over the seeds what QAT saves, and what rounding costs");
  return saved / lost;
}

}  // namespace

EXERCISE(judge_controls, cost, recovered)
