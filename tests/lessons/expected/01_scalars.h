#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

// y = tanh(w x + b) at w = 0.5, x = 2, b = -0.5: z = 0.5 and y = tanh(0.5), by the calculator
// bc: (e(1) - 1) / (e(1) + 1) = .46211715726000975850. Slopes by hand: s = 1 - y², x s, w s, s.
inline Table scalars() {
  const double y = 0.46211715726000975850, s = 1 - y * y;
  Table t;
  t << text("tape",
            "%0    leaf              w                        [1]               \n"
            "%1    leaf              x                        [1]               \n"
            "%2    leaf              b                        [1]               \n"
            "%3    mul                                        [1]                %0 %1\n"
            "%4    add                                        [1]                %3 %2\n"
            "%5    tanh                                       [1]                %4\n")
    << exactly("z", 0.5) << single("y", y) << single("dw", 2 * s) << single("dx", 0.5 * s)
    << single("db", s);
  // A central difference is off by h²/6 of the third derivative, here under 1e-5.
  t << near("difference", 2 * s, 1e-5);
  return t;
}

}  // namespace notch::test
