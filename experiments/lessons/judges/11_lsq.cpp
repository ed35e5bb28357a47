#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_lsq(Judge& judge, double (*step_slope)(double, double, int, int),
               double (*step_gradient)(const std::vector<double>&, const std::vector<double>&,
                                       double, int, int),
               double (*move_log)(double, double, double)) {
  // Esser et al. 2020, eq. 3, by hand: v = 3.7, 9.5, -12, 0.4.
  judge.equal("step_slope(0.37, 0.1)", step_slope(0.37, 0.1, -8, 7), 0.3, 1e-9,
              "4 - 3.7: what rounding adds, not the code");
  judge.equal("step_slope(0.04, 0.1)", step_slope(0.04, 0.1, -8, 7), -0.4, 1e-9,
              "0 - 0.4: a weight rounded to 0 has a slope, too");
  judge.equal("step_slope(0.95, 0.1)", step_slope(0.95, 0.1, -8, 7), 7, 1e-9, "clipped: ŵ = 7 s");
  judge.equal("step_slope(-1.2, 0.1)", step_slope(-1.2, 0.1, -8, 7), -8, 1e-9,
              "clipped below: ŵ = qmin s");

  const std::vector<double> w{0.37, 0.95, -1.2, 0.04};
  judge.equal("step_gradient, all slopes 1", step_gradient(w, {1, 1, 1, 1}, 0.1, -8, 7),
              -1.1 / std::sqrt(28.0), 1e-9, "0.3 + 7 - 8 - 0.4 = -1.1, divided by √(4 · 7)");
  judge.equal("step_gradient, slopes (2, 0, 1, -1)", step_gradient(w, {2, 0, 1, -1}, 0.1, -8, 7),
              (0.6 - 8 + 0.4) / std::sqrt(28.0), 1e-9, "each weight's slope times its dL/dŵ");
  judge.equal("step_gradient of two weights", step_gradient({0.37, 0.04}, {1, 1}, 0.1, -2, 1),
              (1 - 0.4) / std::sqrt(2.0), 1e-9, "the factor counts weights and takes qmax");

  // d(log s) = -rate · s · gradient.
  judge.equal("move_log(0.1, 5, 0.2)", move_log(0.1, 5, 0.2), 0.1 * std::exp(-0.1), 1e-12,
              "log s moves by -rate · s · gradient");
  judge.holds("s stays positive after a huge step", move_log(0.1, 1000, 1) > 0,
              "return the exponential of the new log s");
}

}  // namespace notch::lessons
