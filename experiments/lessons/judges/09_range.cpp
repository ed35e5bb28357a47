#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "experiments/lessons/judges.h"

namespace notch::lessons {
namespace {

double error_of(const Floats& w, double s, int qmax) {
  double sum = 0;
  for (const float v : w) {
    const double q = std::clamp<double>(std::nearbyint(static_cast<double>(v) / s), -qmax, qmax);
    sum += (static_cast<double>(v) - q * s) * (static_cast<double>(v) - q * s);
  }
  return sum;
}

}  // namespace

void judge_range(Judge& judge, float (*best_scale)(const Floats& w, int qmax)) {
  judge.equal("scale of [1, -1, 0], qmax 1", static_cast<double>(best_scale({1, -1, 0}, 1)), 1,
              1e-6, "without any error at 100 %, nothing else is better");
  // 8 (1 - s)² + (2 - s)² is least at 10/9; 0.56 · 2 is nearer than 0.55 · 2.
  judge.equal("scale of eight 1 and one 2, qmax 1",
              static_cast<double>(best_scale({1, 1, 1, 1, 1, 1, 1, 1, 2}, 1)), 1.12, 1e-6,
              "the 2 is clipped to s, for the good of the eight; compare sums of squares");
  // One 1 among 99 zeros: nothing but the 1 counts, and 100 % has no error.
  Floats lone(100, 0);
  lone[50] = -1;
  judge.equal("scale of one -1 among zeros, qmax 7", static_cast<double>(best_scale(lone, 7)),
              1.0 / 7, 1e-6, "the largest magnitude, not the largest value");
  Rng rng(3);
  for (const int qmax : {1, 3, 7}) {
    Floats w(64);
    for (float& v : w) v = static_cast<float>(rng.normal());
    double largest = 0;
    for (const float v : w) largest = std::max<double>(largest, std::fabs(v));
    double least = error_of(w, largest / qmax, qmax);
    for (int percent = 99; percent >= 20; --percent) {
      least = std::min(least, error_of(w, largest * percent / 100 / qmax, qmax));
    }
    judge.equal(str("error of the scale found for 64 random weights, qmax ", qmax),
                error_of(w, static_cast<double>(best_scale(w, qmax)), qmax), least, 1e-4 * least,
                "codes end at -qmax and qmax; try all of 1.00, 0.99, ..., 0.20");
  }
}

}  // namespace notch::lessons
