#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table own_op() {
  Table t;
  // y = x/(1 + e^-x); the derivative by the quotient rule, (1 + e^-x + x e^-x) / (1 + e^-x)², which
  // is another form than the lesson's.
  const double x[] = {1, -2, 0.5}, r[] = {1, -2, 0.5};
  const auto slope = [](double v) {
    const double e = std::exp(-v);
    return (1 + e + v * e) / ((1 + e) * (1 + e));
  };
  for (int i = 0; i < 3; ++i) {
    t << single("y." + std::to_string(i), x[i] / (1 + std::exp(-x[i])))
      << single("dx." + std::to_string(i), r[i] * slope(x[i]));
  }
  t << exactly("checked", 1) << single("adding", slope(1) + 1) << single("overwriting", slope(1));
  // The minimum is where 1 + e^-x + x e^-x = 0, x = -1.2784645, y = -0.2784645 (there y = x + 1);
  // the picture has every tenth.
  t << between("lowest", -0.2784645, -0.27838);
  return t;
}

}  // namespace notch::test
