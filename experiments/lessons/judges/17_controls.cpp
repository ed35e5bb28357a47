#include <cmath>

#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_controls(Judge& judge, Difference (*cost)(const std::vector<SeedLosses>& seeds),
                    double (*recovered)(const std::vector<SeedLosses>& seeds)) {
  // Differences 0.10, 0.12, 0.12, 0.06: mean 0.1, Σ deviation² = 0.0024, so s² = 0.0008 and the error
  // √0.0002. Rounding costs the control 0.2, 0.8, 0.5, 0.5 and QAT is 0.1, 0.68, 0.38, 0.44 better.
  const std::vector<SeedLosses> four{{2.0, 2.2, 1.10, 1.0, 1.2},
                                     {2.4, 2.7, 1.52, 1.4, 2.2},
                                     {1.6, 1.8, 0.72, 0.6, 1.1},
                                     {2.0, 2.3, 1.06, 1.0, 1.5}};
  const std::string_view control =
      "below 0: against fp32, which trained less long. The row with everything but the quantizer "
      "is "
      "the control";
  const Difference found = cost(four);
  judge.equal("cost, 4 seeds: mean", found.mean, 0.1, 1e-12, control);
  judge.equal("cost, 4 seeds: standard error", found.error, std::sqrt(0.0002), 1e-12,
              "the seeds lie far apart, the differences within a seed do not: subtract first. "
              "s / √n, with n - 1 in s");
  // 0.1 and 0.3: deviations 0.1, s² = 0.02 / 1, error √(0.02 / 2).
  const std::vector<SeedLosses> two{{3, 4, 1.1, 1, 2}, {3, 4, 2.3, 2, 3}};
  const Difference pair = cost(two);
  judge.equal("cost, 2 seeds: mean", pair.mean, 0.2, 1e-12, "the mean over seeds, not the sum");
  judge.equal("cost, 2 seeds: standard error", pair.error, 0.1, 1e-12,
              "n - 1 = 1: s² is 0.02, and the error of the mean √(s² / 2)");

  judge.equal(
      "recovered, 4 seeds", recovered(four), 0.8, 1e-12,
      "(control_rtn - qat) / (control_rtn - control): 1.6 / 2 in sums. With rtn and fp32 it "
      "would be more than 1: longer training is not recovery");
  judge.equal("recovered, QAT as good as the control", recovered({{3, 4, 1, 1, 2}}), 1, 1e-12,
              "QAT has saved all that rounding costs");
  judge.equal("recovered, QAT worse than rounding", recovered({{3, 4, 2.5, 1, 2}}), -0.5, 1e-12,
              "it may be below 0, and then must say so");
}

}  // namespace notch::lessons
