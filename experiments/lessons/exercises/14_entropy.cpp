// Exercise 14. How short codes can be, and what the model weighs then.
//
//   notch lesson check 14                 judges this file
//   notch lesson check 14 mine.cpp        judges a copy of it
//
// Replace every BLANK.
#include <cmath>
#include <map>
#include <vector>

#include "experiments/lessons/judges.h"

namespace {

/// Σ p log2(1/p), p the share of each code that occurs: bits per code of the best naming.
double entropy(const std::vector<int>& codes) {
  std::map<int, double> counts;
  double sum = 0;
  BLANK("count each code; then add up share · log2(1 / share)");
  return sum;
}

/// The model's size in GiB. A code costs `bits` (the entropy, if they are coded), and every `group`
/// weights share a scale of `scale_bits`.
double gib(double weights, double bits, int scale_bits, int group) {
  BLANK("bits of a weight with its share of the scale; in bytes; a GiB is 2^30 of them");
}

}  // namespace

EXERCISE(judge_entropy, entropy, gib)
