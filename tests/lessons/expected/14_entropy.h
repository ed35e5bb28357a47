#pragma once

#include <cmath>

#include "tests/lessons/expected.h"

namespace notch::test {

/// Entropy in bits of round(z / step), cut to ±7, z standard normal: cell by cell from erfc.
inline double entropy_of_normal_codes(double step) {
  const auto below = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  double sum = 0;
  for (int code = -7; code <= 7; ++code) {
    const double low = code == -7 ? 0 : below((code - 0.5) * step);
    const double high = code == 7 ? 1 : below((code + 0.5) * step);
    if (high > low) sum -= (high - low) * std::log2(high - low);
  }
  return sum;
}

// By hand: bytes = weights · bits / 8; scales add 16 / group bits per weight.
inline Table entropy() {
  Table t;
  const double gib = 1073741824;
  t << near("gib.0", 28e9 / gib, 1e-9) << near("gib.1", 14e9 / gib, 1e-9)
    << near("gib.2", 7e9 / gib, 1e-9) << near("gib.3", 3.5e9 / gib, 1e-9)
    << near("seventy", 280e9 / gib, 1e-9) << each("four", {4.5, 4.25, 4.125})
    << each("others", {8.25, 6.25}) << near("eight", 1.75, 1e-12);
  // The sample's entropy is the distribution's up to about 1/√65536 bits (4 standard errors: 0.015),
  // and no coder goes below it; ours promises half a percent and its table.
  for (const auto& [key, step] : {std::pair{"quarter", 0.25}, {"half", 0.5}, {"whole", 1.0}}) {
    const double bits = entropy_of_normal_codes(step);
    t << near(std::string(key) + ".entropy", bits, 0.015)
      << between(std::string(key) + ".stream", bits - 0.015,
                 1.005 * bits + 0.015 + 8 * 100.0 / 65536)
      << exactly(std::string(key) + ".wrong", 0);
  }
  t << near("uniform", std::log(15.0) / std::log(2.0), 1e-12);
  return t;
}

}  // namespace notch::test
