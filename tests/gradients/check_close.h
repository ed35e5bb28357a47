// Values against expected ones, element by element.
#pragma once

#include <string_view>
#include <vector>

#include "tests/catch.h"

namespace notch::test {

/// Within 1e-6 of the expected magnitude or within `margin`.
inline void check_close(const std::vector<double>& received, const std::vector<double>& expected,
                        std::string_view what, double margin) {
  REQUIRE(received.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(what << " " << i);
    CHECK(received[i] == Approx(expected[i]).epsilon(1e-6).margin(margin));
  }
}

}  // namespace notch::test
