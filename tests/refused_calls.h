// Calls that every build must refuse, as a list: what tests/*/refused_calls_test.cpp are made of.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "autograd/base/error.h"
#include "tests/catch.h"

namespace notch::test {

/// Each call ends in a usage error.
inline void check_refused(const std::vector<std::function<void()>>& calls) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    CAPTURE(i);
    CHECK(error_of(calls[i]).fault == Fault::usage);
  }
}

}  // namespace notch::test
