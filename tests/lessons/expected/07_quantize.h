#pragma once

#include "tests/lessons/expected.h"

namespace notch::test {

inline Table quantize() {
  Table t;
  const auto floats = [&t](std::string_view key, const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      t << single(std::string(key) + "." + std::to_string(i), values[i]);
    }
  };
  // By hand: w 127/2 = 6.35, 31.75, 63.5 (tie: 64), -19.05, 127, -95.25.
  floats("w", {0.1, 0.5, 1, -0.3, 2, -1.5});
  t << single("s", 2.0 / 127) << each("q", {6, 32, 64, -19, 127, -95}) << single("half", 1.0 / 127);
  floats("back", {12 / 127., 64 / 127., 128 / 127., -38 / 127., 2, -190 / 127.});
  // Errors in steps: 0.35, 0.25, 0.5, 0.05, 0, 0.25. The largest is the tie's, 1/127.
  t << near("error", 1.0 / 127, 1e-6);
  // Half up: 0.5 each. Half to even: -0.5, 0.5, -0.5, 0.5.
  t << exactly("up", 0.5) << exactly("even", 0);
  // 0.01 / (0.02 / 127) = 63.5 in decimals. In binary: double's nearest is 63.5 (to 64), float's is
  // 63.4999962 (to 63): computed apart in C. The others: -127, 95.25, -31.75.
  t << exactly("double", 64) << each("float", {63, -127, 95, -32});
  // s = 1.5/255 = 1/170. z = -128 + 0.3 · 170 = -77. q = 85, 204, -51, 136 and z: all whole.
  floats("sided", {0.5, 1.2, -0.3, 0.8});
  t << single("sided.s", 1.0 / 170) << exactly("sided.z", -77)
    << each("sided.q", {8, 127, -128, 59}) << exactly("sided.exact", 1);
  // Symmetric, s = 1.2/127: 52.917, 127, -31.75, 84.667: the last is wrong by a third of a step.
  t << near("sided.narrow", 1.2 / 127 / 3, 1e-6);
  t << exactly("after", 3) << exactly("before", 4);  // 2.5 to 2, 3.5 to 4
  // 4 + 16/32, 4 + 16/64, 4 + 16/128. 28e9 bytes / 2^30; times 4.5/32.
  t << each("bits", {4.5, 4.25, 4.125}) << near("gib32", 28e9 / 1073741824, 1e-9)
    << near("gib4", 28e9 * 4.5 / 32 / 1073741824, 1e-9);
  return t;
}

}  // namespace notch::test
