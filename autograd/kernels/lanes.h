// How the kernels are vectorised: plain loops that the compiler turns into vector code, compiled
// once per instruction set (NOTCH_VECTOR), and reductions with a fixed number of lanes.
//
// NOTCH_VECTOR(Result, name, parameters) begins a function that holds loops. Its body is compiled for
// AVX-512, for AVX2 and for the base, and a call runs what base/arithmetic.h says. Unlike
// NOTCH_CLONES (base/simd.h), whose users need the same bits from every clone always, native
// arithmetic lets a*b+c become one fused operation where the CPU has it (with GCC; clang decides that
// in the source, so its loops are never contracted): for that the body is compiled twice more.
// Lambdas given to parallel_for call such a function, they are not compiled like one. What the body
// calls in its loops must be NOTCH_INLINE.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "autograd/base/arithmetic.h"
#include "autograd/base/real.h"

#define NOTCH_INLINE __attribute__((always_inline)) inline

// For one variant of a kernel. NOTCH_TARGET also contracts; our products, whose every multiply-add is
// to be fused, are the same with either compiler (register_tile.h). GCC contracts in a pass that -O1
// has only where it is asked for.
#if defined(__x86_64__)
#define NOTCH_ISA(isa) __attribute__((target(isa)))
#if defined(__clang__)
#define NOTCH_TARGET(isa) NOTCH_ISA(isa)
#else
#define NOTCH_TARGET(isa) \
  __attribute__((target(isa), optimize("fp-contract=fast", "expensive-optimizations")))
#endif
#endif

// Under sanitizers one code has enough instrumentation to compile.
#if defined(__x86_64__) && !defined(NOTCH_SANITIZED)
#define NOTCH_MANY_CODES 1
#else
#define NOTCH_MANY_CODES 0
#endif

namespace notch::kernels {

/// Whether the compiler makes one fused operation of a product and a sum inside NOTCH_TARGET: without
/// optimization it does not (nor does GCC with -Og, whose products have other bits), nor clang where a
/// sanitizer's check of an address stands between the two.
#if defined(__OPTIMIZE__) && !defined(NOTCH_SANITIZED)
inline constexpr bool kContracts = true;
#else
inline constexpr bool kContracts = false;
#endif

/// A function of loops in all its codes: what NOTCH_VECTOR makes of one.
template <auto kLoop>
struct Vectorised;
template <class Result, class... Args, Result (*kLoop)(Args...)>
struct Vectorised<kLoop> {
#if NOTCH_MANY_CODES
  NOTCH_ISA("arch=x86-64-v3") static Result avx2(Args... args) { return kLoop(args...); }
  NOTCH_ISA("arch=x86-64-v4") static Result avx512(Args... args) { return kLoop(args...); }
  NOTCH_TARGET("arch=x86-64-v3") static Result contracted_avx2(Args... args) {
    return kLoop(args...);
  }
  NOTCH_TARGET("arch=x86-64-v4") static Result contracted_avx512(Args... args) {
    return kLoop(args...);
  }
#endif
  static Result plain(Args... args) { return kLoop(args...); }

  Result operator()(Args... args) const {
#if NOTCH_MANY_CODES
    switch (loop_code()) {
      case LoopCode::avx2:
        return avx2(args...);
      case LoopCode::avx512:
        return avx512(args...);
      case LoopCode::contracted_avx2:
        return contracted_avx2(args...);
      case LoopCode::contracted_avx512:
        return contracted_avx512(args...);
      default:
        break;
    }
#endif
    return plain(args...);
  }
};

}  // namespace notch::kernels

#define NOTCH_VECTOR(Result, name, ...)                           \
  struct name##_loop {                                            \
    static NOTCH_INLINE Result run(__VA_ARGS__);                  \
  };                                                              \
  constexpr notch::kernels::Vectorised<&name##_loop::run> name{}; \
  Result name##_loop::run(__VA_ARGS__)

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
