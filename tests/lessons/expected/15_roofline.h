#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

// By hand. 24 · 4096² · 32 = 24 · 2^24 · 2^5 = 24 · 2^29. Cache: 2 · 32 · 4096 · 2 = 2^19 bytes a
// token, 4096 tokens 2^31 bytes. In 8 bits: codes 2^30 bytes; a float per channel of a key and block
// of 32, 2^17 · 4096/32 · 4 = 2^26; a float per head and position of a value, 2^10 · 4096 · 4 = 2^24;
// the exact ring of 96 positions, 2 · 96 · 2^17 · 4 = 96 · 2^20.
inline Table roofline() {
  Table t;
  const double flop = 24 * 536870912.0, mib = 1048576;
  t << exactly("operations", flop) << near("compute", 1000 * flop / 312e12, 1e-12)
    << near("memory", 7, 1e-12) << near("ratio", 7 / (flop / 312e9), 1e-9)
    << near("intensity", flop / 14e9, 1e-12) << near("ridge", 156, 1e-9)
    << near("tokens", 156 * 14e9 / flop, 1e-9) << near("per_second", 2000.0 / 14, 1e-9)
    << near("per_second_4", 4 * 2000.0 / 14, 1e-9) << exactly("rows", 2080)
    << exactly("difference", 0) << exactly("per_token", 524288) << exactly("fp16", 2048)
    << exactly("int8", (1073741824.0 + 67108864 + 16777216 + 96 * mib) / mib)
    << near("equal", 3.5e9 / 524288, 1e-9);
  return t;
}

}  // namespace notch::test
