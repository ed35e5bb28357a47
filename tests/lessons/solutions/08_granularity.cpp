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
    float largest = 0;
    for (std::size_t i = first; i < first + group; ++i) {
      largest = std::max(largest, std::fabs(w[i]));
    }
    found.push_back(largest > 0 ? largest / static_cast<float>(qmax) : 1);
  }
  return found;
}

/// Bits that one weight costs, its share of the scale included.
double bits_per_weight(int bits, int scale_bits, std::size_t group) {
  double cost = bits;
  cost += static_cast<double>(scale_bits) / static_cast<double>(group);
  return cost;
}

}  // namespace

EXERCISE(judge_granularity, scales, bits_per_weight)
