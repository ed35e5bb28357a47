#include "experiments/lessons/judges.h"

namespace notch::lessons {

void judge_ste(Judge& judge, double (*rounded)(double, double, int, int),
               double (*straight_through)(double, double, double, int, int),
               int (*flips)(double, double, double, double, int)) {
  judge.equal("rounded(0.37, 0.1)", rounded(0.37, 0.1, -7, 7), 0.4, 1e-12, "0.37 is 3.7 steps");
  judge.equal("rounded(-0.37, 0.1)", rounded(-0.37, 0.1, -7, 7), -0.4, 1e-12,
              "round to the nearest code, not towards 0");
  judge.equal("rounded(2.5, 1)", rounded(2.5, 1, -7, 7), 2, 0, "std::nearbyint takes the even one");
  judge.equal("rounded(1, 0.1)", rounded(1, 0.1, -7, 7), 0.7, 1e-12, "cut to qmin and qmax");
  judge.equal("rounded(-5, 0.5), codes -8 to 7", rounded(-5, 0.5, -8, 7), -4, 1e-12,
              "qmin and qmax need not be opposite");

  judge.equal("straight_through(-0.05, 0.37, 0.1)", straight_through(-0.05, 0.37, 0.1, -7, 7),
              -0.05, 0, "inside the grid the slope goes through as it is");
  judge.equal("straight_through(-0.05, 1, 0.1)", straight_through(-0.05, 1, 0.1, -7, 7), 0, 0,
              "1.0 is 10 steps: clipped, so no gradient");
  judge.equal("straight_through(3, -7, 1)", straight_through(3, -7, 1, -7, 7), 3, 0,
              "the ends of the grid are inside");
  judge.equal("straight_through(3, -8, 1), codes -8 to 7", straight_through(3, -8, 1, -8, 7), 3, 0,
              "use qmin and qmax, not |w|");

  // In units of 0.0002 above 0.35: w = 105 falls by 14 per step while it is above 0, eight times, to
  // -7; then it rises by 6 per step: -1, 5. That is the second change; 5 - 14 = -9 is the third.
  judge.equal("flips(0.371, 0.33, 0.1, 0.02, 7)", flips(0.371, 0.33, 0.1, 0.02, 7), 0, 0,
              "0.371 - 7 · 0.0028 = 0.3514 still rounds to 0.4");
  judge.equal("flips(0.371, 0.33, 0.1, 0.02, 8)", flips(0.371, 0.33, 0.1, 0.02, 8), 1, 0,
              "one more step leads below 0.35");
  judge.equal("flips(0.371, 0.33, 0.1, 0.02, 11)", flips(0.371, 0.33, 0.1, 0.02, 11), 3, 0,
              "the gradient is 2 (ŵ - target): with ŵ = 0.3 it is -0.06, so w rises again");
  // On the grid there is nothing to do: (ŵ - 0.3)² is 0 at once.
  judge.equal("flips(0.32, 0.3, 0.1, 0.02, 100)", flips(0.32, 0.3, 0.1, 0.02, 100), 0, 0,
              "the loss is that of ŵ, not of w");
}

}  // namespace notch::lessons
