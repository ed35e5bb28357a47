#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_quantize(Judge& judge,
                    std::vector<int> (*codes)(const Floats& w, float s, int z, int qmin, int qmax),
                    Floats (*values)(const std::vector<int>& codes, float s, int z)) {
  judge.equal("codes of [0.1, 0.5, 1, -0.3, 2, -1.5], s = 2/127",
              codes({0.1f, 0.5f, 1, -0.3f, 2, -1.5f}, 2.0f / 127, 0, -127, 127),
              {6, 32, 64, -19, 127, -95}, 0, "q = w / s, rounded; 63.5 goes to 64");
  judge.equal("codes of [0.5, 1.5, 2.5, -0.5, -1.5, -2.5], s = 1",
              codes({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f}, 1, 0, -7, 7), {0, 2, 2, 0, -2, -2}, 0,
              "std::nearbyint takes ties to the even number; std::round does not");
  judge.equal("codes of [0.01, -0.02, 0.015, -0.005], s = 0.02/127",
              codes({0.01f, -0.02f, 0.015f, -0.005f}, 0.02f / 127, 0, -127, 127),
              {63, -127, 95, -32}, 0,
              "divide in float; in double, or times 1/s, the first comes out as 63.5");
  judge.equal("codes of [9, -9, 3], s = 1, q in [-7, 7]", codes({9, -9, 3}, 1, 0, -7, 7),
              {7, -7, 3}, 0, "codes end at qmin and qmax");
  judge.equal("codes of [0.5, 1.2, -0.3, 0.8], s = 1.5/255, z = -77",
              codes({0.5f, 1.2f, -0.3f, 0.8f}, 1.5f / 255, -77, -128, 127), {8, 127, -128, 59}, 0,
              "q = round(w / s) + z");
  judge.equal("codes of [2.5, 20, -20], s = 1, z = 1, q in [-8, 7]",
              codes({2.5f, 20, -20}, 1, 1, -8, 7), {3, 7, -8}, 0,
              "round first, then add z, then stay within qmin and qmax");
  judge.equal("values of codes [8, 127, -128, -77], s = 0.5, z = -77",
              values({8, 127, -128, -77}, 0.5f, -77), {42.5, 102, -25.5, 0}, 0,
              "w = (q - z) s; code z stands for 0");
}

}  // namespace notch::lessons
