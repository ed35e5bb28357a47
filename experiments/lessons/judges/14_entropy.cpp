#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_entropy(Judge& judge, double (*entropy)(const std::vector<int>& codes),
                   double (*gib)(double weights, double bits, int scale_bits, int group)) {
  judge.equal("entropy of [0, 0, 0, 0, 1, 1, -1, 2]", entropy({0, 0, 0, 0, 1, 1, -1, 2}), 1.75,
              1e-12, "1/2 · 1 + 1/4 · 2 + 1/8 · 3 + 1/8 · 3; log2, not the natural logarithm");
  judge.equal("entropy of [3, 3, 3, 3]", entropy({3, 3, 3, 3}), 0, 1e-12,
              "what is certain costs nothing; only codes that occur are in the sum");
  judge.equal("entropy of [1, 0, 1, 0, 1, 0]", entropy({1, 0, 1, 0, 1, 0}), 1, 1e-12,
              "two codes in equal shares are one bit, in whatever order they stand");
  judge.equal("entropy of [5, -5, 5]", entropy({5, -5, 5}), std::log2(3.0) - 2.0 / 3, 1e-12,
              "shares are of all codes: 2/3 and 1/3");
  judge.equal("entropy of [-127, 127, -128, 0]", entropy({-127, 127, -128, 0}), 2, 1e-12,
              "a code may be any integer");

  // 2^33 weights of one bit are 2^30 bytes.
  const double weights = 8589934592.0;
  judge.equal("GiB of 2^33 weights, 4 bits, no scales", gib(weights, 4, 0, 32), 4, 1e-12,
              "a byte is 8 bits, a GiB 2^30 bytes; 10^9 bytes are a GB");
  judge.equal("the same, 16-bit scales, groups of 32", gib(weights, 4, 16, 32), 4.5, 1e-12,
              "4 + 16 / 32 bits; in integers 16 / 32 is 0");
  judge.equal("the same, 16-bit scales, groups of 64, codes that cost 1.75 bits",
              gib(weights, 1.75, 16, 64), 2, 1e-12, "coded codes are shorter, the scales are not");
}

}  // namespace notch::lessons
