// Shared by the kernel tests: random inputs, and a comparison with a bound per element.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "autograd/base/real.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "tests/catch.h"

namespace notch::test {

using Reals = std::vector<real>;

inline constexpr double kEpsilon = std::numeric_limits<real>::epsilon();

/// n normal numbers times `scale`.
inline Reals normals(std::int64_t n, std::uint64_t seed, double scale = 1) {
  Rng rng(seed);
  Reals x(static_cast<std::size_t>(n));
  for (real& v : x) v = static_cast<real>(rng.normal() * scale);
  return x;
}

/// The largest |found - expected| / max(|expected|, floor).
template <class Found>
double worst_error(const Found& found, const std::vector<double>& expected, double floor) {
  REQUIRE(found.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(static_cast<double>(found[i]) - expected[i]) /
                         std::max(std::fabs(expected[i]), floor);
    if (!(error <= worst)) worst = error;  // a NaN is the worst
  }
  return worst;
}

/// Runs `compute` with 1, 2 and 3 threads and requires the same bits.
template <class Compute>
void require_same_bits_for_any_thread_count(const Compute& compute) {
  const int before = threads();
  set_threads(1);
  const auto one = compute();
  for (int n : {2, 3}) {
    set_threads(n);
    const auto more = compute();
    CHECK(one == more);
  }
  set_threads(before);
}

}  // namespace notch::test
