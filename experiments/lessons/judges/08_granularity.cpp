#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_granularity(Judge& judge, Floats (*scales)(const Floats& w, std::size_t group, int qmax),
                       double (*bits)(int bits, int scale_bits, std::size_t group)) {
  const Floats w = {0.1f, 0.2f, 0.15f, 0.12f, 2, -1.8f, 1.5f, -2.1f};
  judge.equal("scales of [0.1, 0.2, 0.15, 0.12, 2, -1.8, 1.5, -2.1], groups of 4, qmax 7",
              scales(w, 4, 7), {0.2 / 7, 0.3}, 1e-7,
              "the largest magnitude counts: -2.1 of the second group");
  judge.equal("the same in groups of 2", scales(w, 2, 7), {0.2 / 7, 0.15 / 7, 2.0 / 7, 2.1 / 7},
              1e-7, "each group has a maximum of its own");
  judge.equal("the same in one group of 8", scales(w, 8, 7), {0.3}, 1e-7, "one scale for all");
  judge.equal("scales of [0, 0, 3, -6], groups of 2, qmax 3", scales({0, 0, 3, -6}, 2, 3), {1, 2},
              0, "0 / qmax would be 0, and w / 0 is no code: give zeros the scale 1");
  judge.equal("bits of 4-bit codes, 16-bit scales, groups of 32", bits(4, 16, 32), 4.5, 1e-12,
              "4 + 16 / 32; in integers 16 / 32 is 0");
  judge.equal("bits of 8-bit codes, 32-bit scales, groups of 128", bits(8, 32, 128), 8.25, 1e-12,
              "bits + scale_bits / group");
}

}  // namespace notch::lessons
