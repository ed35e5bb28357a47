// exp, tanh, sigmoid and the normal distribution as branch-free code that vectorises, in float; the
// double overloads are the standard library's, for the gradient checks.
//
// Why not std::exp: a call per element keeps a loop scalar, and libmvec would be another dependency
// with other bits per platform. Coefficients are our own minimax fits (iteratively reweighted least
// squares in double); the errors stated are the largest found by vmath_test.cpp against double.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "autograd/kernels/lanes.h"

namespace notch::kernels::vmath {

/// r = x - n ln 2.
NOTCH_INLINE float reduced(float x, float n) {
  constexpr float kLn2High = 0x1.62e4p-1f;  // ln 2 to 15 bits: n times it is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  return (x - n * kLn2High) - n * kLn2Low;
}

/// e^r = 1 + r + r² P(r) for |r| ≤ ln 2 / 2, relative error 3.1e-9.
NOTCH_INLINE float exp_reduced(float r) {
  float p = 0.0013814440462738276f;
  p = p * r + 0.008368798531591892f;
  p = p * r + 0.041668396443128586f;
  p = p * r + 0.1666651964187622f;
  p = p * r + 0.4999999403953552f;
  return (p * r) * r + r + 1.0f;
}

/// e^x within 1 ulp (2 without FMA). Overflow gives inf, underflow denormals and then 0, NaN stays
/// NaN.
NOTCH_INLINE float exp(float x) {
  // Below -104 the result rounds to 0, above 89 to inf; the comparisons let NaN through.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // x = n ln 2 + r, |r| ≤ ln 2 / 2. Adding 1.5 · 2^23 rounds to an integer and leaves it in the low
  // bits.
  constexpr float kRound = 0x1.8p23f;
  const float shifted = x * std::numbers::log2e_v<float> + kRound;
  const float n = shifted - kRound;
  const std::int32_t k = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  const float p = exp_reduced(reduced(x, n));
  // 2^k in two factors: k itself may lie outside the exponent's range.
  const std::int32_t half = k >> 1;
  return p * std::bit_cast<float>((half + 127) << 23) *
         std::bit_cast<float>((k - half + 127) << 23);
}
NOTCH_INLINE double exp(double x) { return std::exp(x); }

/// e^x for x ≤ 0 (or little above) in two thirds of the operations: 0 below -86.5, where e^x is
/// hardly normal any more. NaN stays NaN.
NOTCH_INLINE float exp_nonpositive(float x) {
  // As above, but n arrives with the exponent's bias in it: its low bits are those of 2^n.
  constexpr float kRound = 0x1.8p23f + 127.0f;
  const float shifted = x * std::numbers::log2e_v<float> + kRound;
  const float power = std::bit_cast<float>(std::bit_cast<std::uint32_t>(shifted) << 23);
  const float e = exp_reduced(reduced(x, shifted - kRound)) * power;
  return x < -86.5f ? 0.0f : e;
}
NOTCH_INLINE double exp_nonpositive(double x) { return std::exp(x); }

/// 1 / (1 + e^-x) within 3 ulp where it is normal.
NOTCH_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
NOTCH_INLINE double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// tanh x within 2 ulp.
NOTCH_INLINE float tanh(float x) {
  const float a = std::fabs(x), s = a * a;
  // |x| < 0.625: x + x³ P(x²), relative error 4.4e-9
  float p = -0.0057049463503062725f;
  p = p * s + 0.020639052614569664f;
  p = p * s - 0.05373970419168472f;
  p = p * s + 0.13331441581249237f;
  p = p * s - 0.3333328068256378f;
  const float near = a + (a * s) * p;
  const float far = 1.0f - 2.0f / (exp(2.0f * a) + 1.0f);
  return std::copysign(a < 0.625f ? near : far, x);
}
NOTCH_INLINE double tanh(double x) { return std::tanh(x); }

/// Φ(x), the standard normal's distribution function, and its density φ(x).
template <class Real>
struct Normal {
  Real cdf;
  Real pdf;
};

/// |x| < 1.25: Φ = 1/2 + x P(x²), relative error of the fit 9.6e-9 (of x P). Beyond, with a = |x|:
/// Φ(-a) = e^(-a²/2) · t P(t), t = 1 / (1 + a/4), relative error 9.8e-9 up to a = 14.5; the form of
/// Abramowitz and Stegun 7.1.26 with more terms.
/// Φ has an absolute error below 1e-7, and a relative one within 4 ulp for x > -1; below, it grows
/// with x² through the rounding of the exponent.
NOTCH_INLINE Normal<float> normal(float x) {
  const float a = std::fabs(x), s = x * x;
  const float e = exp_nonpositive(-0.5f * s);
  float c = -6.809450496803038e-06f;
  c = c * s + 0.00011104097939096391f;
  c = c * s - 0.00118383695371449f;
  c = c * s + 0.00997228268533945f;
  c = c * s - 0.06649021059274673f;
  c = c * s + 0.3989422619342804f;
  const float center = 0.5f + x * c;
  const float t = 1.0f / (1.0f + 0.25f * a);
  float p = -0.04788989573717117f;
  p = p * t + 0.11317551881074905f;
  p = p * t - 0.02799801528453827f;
  p = p * t + 0.09663555771112442f;
  p = p * t + 0.07159194350242615f;
  p = p * t + 0.0951201543211937f;
  p = p * t + 0.09958333522081375f;
  p = p * t + 0.09974157065153122f;
  const float tail = e * (t * p);
  const float outer = x < 0.0f ? tail : 1.0f - tail;
  constexpr float kInverseSqrt2Pi = 0.3989422804014327f;
  return {a < 1.25f ? center : outer, kInverseSqrt2Pi * e};
}
NOTCH_INLINE Normal<double> normal(double x) {
  constexpr double kInverseSqrt2Pi = 0.3989422804014327;
  return {0.5 * std::erfc(-x / std::numbers::sqrt2), kInverseSqrt2Pi * std::exp(-0.5 * x * x)};
}

}  // namespace notch::kernels::vmath
