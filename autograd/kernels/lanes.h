// How the kernels are vectorised: plain loops that the compiler turns into vector code, compiled
// once per instruction set (NOTCH_VECTOR), and reductions with a fixed number of lanes.
//
// NOTCH_VECTOR goes before the definition of a function that holds loops: target_clones compiles it
// for AVX-512, AVX2 and the base, the loader picks by CPU. Unlike NOTCH_CLONES (base/simd.h), whose
// users need the same bits from every clone, it lets a*b+c become one fused operation where the CPU
// has it: training promises equal bits for one CPU type only. Lambdas given to parallel_for are not
// cloned: they call a NOTCH_VECTOR function. What such a function calls in its loops must be
// NOTCH_INLINE.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "autograd/base/real.h"

#if defined(__x86_64__) && defined(__linux__) && !defined(NOTCH_SANITIZED)
#define NOTCH_VECTOR_TARGETS target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")
#if defined(__clang__)
#pragma clang fp contract(fast)
#define NOTCH_VECTOR __attribute__((NOTCH_VECTOR_TARGETS))
#else
#define NOTCH_VECTOR __attribute__((NOTCH_VECTOR_TARGETS, optimize("fp-contract=fast")))
#endif
#else
#define NOTCH_VECTOR
#endif

#define NOTCH_INLINE __attribute__((always_inline)) inline

namespace notch::kernels {

/// Partial sums of a reduction: two AVX-512 or four AVX2 registers of float.
inline constexpr std::int64_t kLanes = 32;

/// Terms that one lane adds in `real` before its sum goes into a double.
inline constexpr std::int64_t kLaneTerms = 16;

/// Combines lanes l and l + kWidth for l < kWidth, then halves the width, down to one. The trip
/// counts are constants, so that each level is a vector operation.
template <std::int64_t kWidth, class Combine>
NOTCH_INLINE real fold(real* lanes, const Combine& combine) {
  for (std::int64_t l = 0; l < kWidth; ++l) lanes[l] = combine(lanes[l], lanes[l + kWidth]);
  if constexpr (kWidth > 1)
    return fold<kWidth / 2>(lanes, combine);
  else
    return lanes[0];
}

/// Σ term(i) over [0, n). Each lane adds kLaneTerms terms in `real`, the rest is double, in a fixed
/// order.
template <class Term>
NOTCH_INLINE double lane_sum(std::int64_t n, const Term& term) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kLanes * kLaneTerms) {
    const std::int64_t end = std::min(n, begin + kLanes * kLaneTerms);
    real lanes[kLanes] = {};
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
    for (std::int64_t l = 0; i < end; ++i, ++l) lanes[l] += term(i);
    total += static_cast<double>(fold<kLanes / 2>(lanes, [](real a, real b) { return a + b; }));
  }
  return total;
}

/// Largest x[i]; -inf for n = 0. A NaN may be passed over: what the caller computes from every x[i]
/// must show it (a sum of exp(x[i] - max) does).
NOTCH_INLINE real lane_max(const real* x, std::int64_t n) {
  real lanes[kLanes];
  for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = -std::numeric_limits<real>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  return fold<kLanes / 2>(lanes, [](real a, real b) { return b > a ? b : a; });
}

}  // namespace notch::kernels
