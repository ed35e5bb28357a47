#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

// All by hand from the layout in quant/store/README.md. Scales: 0.1 lies in [1/16, 1/8), where binary16 has steps
// of 2^-14; 0.1 · 2^14 = 1638.4, so 1638 = 1024 + 614, exponent field 11: 2e66. 1/7 lies in
// [1/8, 1/4), steps of 2^-13; 8192/7 = 1170.3, so 1170 = 1024 + 146, exponent field 12: 3092.
// w/s: 7.0017, -3.5009 (with 0.1 a tie), 1.0002, 0, -6.0015; 7.0017, 3.5009, -1.7504, -7.0017, 5.2513.
// Stored, + 7: 14 3 8 7 1 | 14 11 5 0 12. Six bits: 62 + 31 · 4096 + 36 · 262144 = 0x91f03e.
inline Table hexdump() {
  Table t;
  t << each("codes", {7, -4, 1, 0, -6, 7, 4, -2, -7, 5}) << exactly("scales.0", 1638.0 / 16384)
    << exactly("scales.1", 1170.0 / 8192) << text("bytes", "3e 78 01 be 05 0c")
    << exactly("low", 14) << exactly("high", 11) << exactly("weight", 7 * 1170.0 / 8192)
    << text("scale_bytes", "66 2e 92 30") << exactly("decoded", 1638.0 / 16384)
    << exactly("total", 2 * 3 + 2 * 2) << exactly("per_weight", 8.0 * 10 / 10)
    << text("six", "3e f0 91") << text("ternary", "dd")
    << text("refused",
            "row.weight: row 0, column 0: a code is outside the grid; expected -7 to 7, found 8")
    << exactly("unseen", 10 - 7);
  return t;
}

}  // namespace notch::test
