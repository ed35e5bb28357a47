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
    q.push_back(std::clamp(static_cast<int>(std::nearbyint(v / s)) + z, qmin, qmax));
  }
  return q;
}

Floats values(const std::vector<int>& q, float s, int z) {
  Floats back;
  for (const int code : q) {
    back.push_back(static_cast<float>(code - z) * s);
  }
  return back;
}

}  // namespace

EXERCISE(judge_quantize, codes, values)
