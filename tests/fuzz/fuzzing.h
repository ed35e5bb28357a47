// A test case for every target.
#pragma once

#include <set>
#include <string_view>

#include "tests/catch.h"

namespace notch::test::fuzz {

/// Runs a target on its seeds, on what it once answered wrongly, and on what the mutator makes of both.
void fuzz(std::string_view target);

/// The targets that have a test case.
std::set<std::string_view>& fuzzed();

}  // namespace notch::test::fuzz

#define NOTCH_FUZZ(target)                                      \
  namespace {                                                   \
  const bool fuzzes_##target = fuzzed().insert(#target).second; \
  }                                                             \
  TEST_CASE("fuzz: " #target " takes any bytes or refuses them") { fuzz(#target); }
