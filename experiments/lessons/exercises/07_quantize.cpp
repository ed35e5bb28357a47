// Exercise 07. Quantize and go back.
//
//   notch lesson check 07                 judges this file
//   notch lesson check 07 mine.cpp        judges a copy of it
//
// w is about (q - z) s. Divide in float, round ties to even (std::nearbyint does), add z after
// rounding, and stay within [qmin, qmax]. Replace every BLANK.
#include <algorithm>
#include <cmath>

#include "experiments/lessons/judges.h"

namespace {

using notch::lessons::Floats;

std::vector<int> codes(const Floats& w, float s, int z, int qmin, int qmax) {
  std::vector<int> q;
  for (const float v : w) {
    BLANK("append the code of v");
  }
  return q;
}

Floats values(const std::vector<int>& q, float s, int z) {
  Floats back;
  for (const int code : q) {
    BLANK("append what the code stands for");
  }
  return back;
}

}  // namespace

EXERCISE(judge_quantize, codes, values)
