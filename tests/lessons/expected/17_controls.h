#pragma once

#include <cmath>

#include "tests/lessons/expected.h"

namespace notch::test {

// What training gives depends on rounding, so these are properties and not values. The floor is the
// entropy of the next token: 3/4 + 1/64 for the rule's, 1/64 for each of 15 others. Every loss lies
// above it (up to the test text's chance: 8 texts of 8192 tokens, four standard errors are 0.02) and
// below ln 16, that of guessing. A row that trained twice as long is better, a rounded one is worse,
// QAT lies between its control and the control's rounding. With pairs the error is several times
// smaller.
inline Table controls() {
  Table t;
  const double floor = -49.0 / 64 * std::log(49.0 / 64) + 15.0 / 64 * std::log(64.0);
  const double guess = std::log(16.0);
  t << near("floor", floor, 1e-12) << between("fp32", floor + 0.1, guess)
    << between("rtn", floor + 0.15, guess) << between("qat", floor - 0.02, guess)
    << between("longer", floor - 0.02, guess) << between("longer_rtn", floor, guess)
    << between("rounding", 0.02, 0.5) << between("better", -0.5, -0.03)
    << between("cost", 0.003, 0.1) << between("gain", -0.3, -0.02)
    << between("unpaired", 0.004, 0.1) << between("paired", 1e-5, 0.004);
  return t;
}

}  // namespace notch::test
