// One include for Catch2 v2 (catch2/catch.hpp) and v3 (catch2/catch_all.hpp).
#pragma once

#ifdef NOTCH_CATCH2_V2
#include <catch2/catch.hpp>
#else
#include <catch2/catch_all.hpp>
using Catch::Approx;
#endif

#include "autograd/base/error.h"

namespace notch::test {

/// Runs `action` and returns the parts of the notch::Error it must throw; fails the test otherwise.
template <class Action>
ErrorParts error_of(const Action& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.parts();
  }
  FAIL("expected a notch::Error");
  return {};
}

}  // namespace notch::test
