// Exercise 08. A scale per group, and its price.
//
//   notch lesson check 08                 judges this file
//   notch lesson check 08 mine.cpp        judges a copy of it
//
// Every `group` weights in a row share a scale, max|w| / qmax of the group. A group of zeros has no
// largest weight: give it 1. Replace every BLANK.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Floats;

/// One scale per group; `group` divides the number of weights.
Floats scales(const Floats& w, std::size_t group, int qmax) {
  Floats found;
  for (std::size_t first = 0; first < w.size(); first += group) {
    BLANK("append the scale of w[first] to w[first + group - 1]");
  }
  return found;
}

/// Bits that one weight costs, its share of the scale included.
double bits_per_weight(int bits, int scale_bits, std::size_t group) {
  double cost = bits;
  BLANK("add the share of the scale");
  return cost;
}

}  // namespace

EXERCISE(judge_granularity, scales, bits_per_weight)
