#pragma once

#include <algorithm>

#include "tests/lessons/expected.h"

namespace notch::test {

// By hand: 0.37 / 0.1 = 3.7 rounds to 4; 0.37 + 0.005 · 0.05 = 0.37025; 1.0 / 0.1 = 10 is clipped
// to 7. With L = (ŵ - 0.33)² the slopes at 0.3 and 0.4 are -0.06 and 0.14, the line between them
// has 0.3 + 0.4 - 2 · 0.33 = 0.04, and so on average over the cell. The bias of the upper end of a
// cell [a, a + s] is 2 (a + s - t) - (2a + s - 2t) = s.
inline Table ste() {
  Table t;
  t << single("rounded", 0.4) << exactly("slope", 0) << single("gradient", -0.05)
    << near("moved", 0.37025, 1e-8) << single("outside", 0.7) << exactly("clipped", 0)
    << single("plain", -0.05) << near("fair", 0.04, 1e-12) << near("low", -0.06, 1e-6)
    << near("high", 0.14, 1e-6) << near("mean", 0.04, 1e-6) << near("bias", 0.1, 1e-6)
    << near("bias_3_bits", 0.7 / 3, 1e-6);
  // The walk in whole numbers: w = 0.35 + 0.0002 n, steps of -14 above 0 and +6 below. n is odd at
  // the start and stays odd, so it never stands on the tie at 0.
  int n = 105, flips = 0, lowest = 1000, highest = -1000, above = 0;
  for (int step = 0; step < 400; ++step) {
    if (step >= 300) lowest = std::min(lowest, n), highest = std::max(highest, n), above += n > 0;
    const int next = n > 0 ? n - 14 : n + 6;
    if (step < 399 && (next > 0) != (n > 0)) ++flips;
    n = next;
  }
  t << exactly("flips", flips) << near("lowest", 0.35 + 0.0002 * lowest, 1e-5)
    << near("highest", 0.35 + 0.0002 * highest, 1e-5) << near("high_share", above / 100.0, 1e-12);
  // At rest ups and downs cancel: p · 0.14 = (1 - p) · 0.06, so p = 0.3 and the mean is the target.
  t << near("mean_rounded", 0.33, 1e-12) << near("at_chance", 0.3 * 0.0049 + 0.7 * 0.0009, 1e-12)
    << near("frozen", 0.0009, 1e-12);
  return t;
}

}  // namespace notch::test
