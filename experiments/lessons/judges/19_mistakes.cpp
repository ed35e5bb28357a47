#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_mistakes(Judge& judge,
                    bool (*has_gradient)(double w, double s, int z, int qmin, int qmax),
                    StoredRow (*stored)(const Floats& w, int qmax),
                    double (*best_power)(double (*error)(double power)),
                    double (*damage)(const Floats& w, const StoredRow& row)) {
  // s = 0.5, z = -3, codes -8 … 7: the grid goes from (-8 + 3) / 2 = -2.5 to (7 + 3) / 2 = 5.
  Vector passed;
  for (const double w : {-3.0, -2.5, 0.0, 4.5, 5.0, 5.5}) {
    passed.push_back(has_gradient(w, 0.5, -3, -8, 7) ? 1 : 0);
  }
  judge.equal("has_gradient of (-3, -2.5, 0, 4.5, 5, 5.5), s = 0.5, z = -3, codes -8 to 7", passed,
              {0, 1, 1, 1, 1, 0}, 0,
              "the grid goes from (qmin - z) s = -2.5 to (qmax - z) s = 5: it moves with z");
  judge.holds("has_gradient(-4, 0.5, 0, -8, 7)", has_gradient(-4, 0.5, 0, -8, 7),
              "without a zero point it was right");

  // By hand; bf16 has 7 bits behind the point, steps of 1/128 from 1 to 2. 127.25 / 127 = 1.002 becomes
  // 1, and 127.762 / 127 = 1.006 becomes 129/128 = 1.0078125.
  const std::string_view late =
      "first round the scale to 16 bits, then choose the codes with the rounded one";
  const StoredRow down = stored({127.25f, 100.6f, -60.55f, 50.55f, 0.4f}, 127);
  judge.equal("stored codes of (127.25, 100.6, -60.55, 50.55, 0.4), qmax 127", down.codes,
              {127, 101, -61, 51, 0}, 0, late);
  judge.equal("their scale", static_cast<double>(down.scale), 1, 0,
              "127.25 / 127 has no bf16; the nearest is 1");
  const StoredRow up = stored({127.762f, 81.05f}, 127);
  judge.equal("stored codes of (127.762, 81.05), qmax 127", up.codes, {127, 80}, 0, late);
  judge.equal("their scale", static_cast<double>(up.scale), 1.0078125, 0,
              "127.762 / 127 = 1.006; the nearest bf16 is 1 + 1/128");

  const std::string_view identity =
      "a search that cannot choose \"leave it as it is\" can make the layer worse";
  judge.equal("best_power when every power does harm",
              best_power([](double power) { return 1 + power; }), 0, 1e-12, identity);
  judge.equal("best_power when 0.3 is best",
              best_power([](double power) { return (power - 0.3) * (power - 0.3); }), 0.3, 1e-12,
              "try 0, 0.1, …, 1");
  judge.equal("best_power when more is better", best_power([](double power) { return -power; }), 1,
              1e-12, "try 0, 0.1, …, 1");

  judge.equal("damage of codes (2, -3), scale 0.5, to w = (1.25, -1)",
              damage({1.25f, -1}, {.codes = {2, -3}, .scale = 0.5f}), 0.3125, 1e-12,
              "they come back as 1 and -1.5: 0.25² + 0.5²");
  judge.equal("damage of codes (2, 4), scale 0.5, to w = (1, 2)",
              damage({1, 2}, {.codes = {2, 4}, .scale = 0.5f}), 0, 1e-12, "code · scale - w is 0");
}

}  // namespace notch::lessons
