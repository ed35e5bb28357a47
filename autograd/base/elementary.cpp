#include "autograd/base/elementary.h"

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/base/arithmetic.h"

namespace notch::elementary {
namespace {

// ln 2 and π/2 in parts of which a product with a whole number below 2^20 is exact: the high parts
// have 32 bits.
constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kHalfPi[] = {0x1.921fb54400000p+0, 0x1.0b4611a600000p-34, 0x1.3198a2e037073p-69};
constexpr double kLargestAngle = 0x1p20;

/// 1/(first)!, 1/(first + step)!, …
template <std::size_t N>
constexpr std::array<double, N> inverse_factorials(int first, int step) {
  std::array<double, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    double factorial = 1;
    for (int k = 2; k <= first + static_cast<int>(i) * step; ++k) factorial *= k;
    out[i] = 1 / factorial;
  }
  return out;
}

template <std::size_t N>
double horner(const std::array<double, N>& c, double x) {
  double sum = 0;
  for (std::size_t i = N; i-- > 0;) sum = sum * x + c[i];
  return sum;
}

double own_exp(double x) {
  if (std::isnan(x)) return x;
  if (x > 709.8) return std::numeric_limits<double>::infinity();
  if (x < -745.2) return 0;
  // x = n ln 2 + r, |r| <= ln 2 / 2: e^r = 1 + r + r² (1/2! + r/3! + … + r^12/14!), rest below 1e-19
  static constexpr auto kTerms = inverse_factorials<13>(2, 1);
  const double n = std::nearbyint(x * std::numbers::log2e);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  const double e = 1 + (r + r * r * horner(kTerms, r));
  return std::ldexp(e, static_cast<int>(n));
}

double own_log(double x) {
  if (std::isnan(x) || x < 0) return std::numeric_limits<double>::quiet_NaN();
  if (x == 0) return -std::numeric_limits<double>::infinity();
  if (std::isinf(x)) return x;
  // x = m 2^e, m in [√½, √2): log m = 2 atanh s = 2 (s + s³/3 + …), s = (m - 1)/(m + 1), |s| < 0.1716
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < std::numbers::sqrt2 / 2) {
    m *= 2;
    --e;
  }
  const double f = m - 1, s = f / (m + 1), s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 3; k -= 2) series = series * s2 + 1.0 / k;
  // 2 s = f - f s, so that the rounding of s counts only once it is small.
  const double rest = s * (2 * s2 * series - f);
  return e * kLn2High + (f + (rest + e * kLn2Low));
}

double whole_power(double x, int n) {
  double out = 1;
  for (int left = std::abs(n); left > 0; left >>= 1, x *= x)
    if (left & 1) out *= x;
  return n < 0 ? 1 / out : out;
}

double own_pow(double x, double y) {
  constexpr double kFewFactors = 64;
  if (y == std::nearbyint(y) && std::fabs(y) <= kFewFactors)
    return whole_power(x, static_cast<int>(y));
  if (x < 0) {
    if (y != std::nearbyint(y)) return std::numeric_limits<double>::quiet_NaN();
    const double size = own_exp(y * own_log(-x));
    return std::fmod(y, 2) == 0 ? size : -size;
  }
  if (x == 0) return y < 0 ? std::numeric_limits<double>::infinity() : 0;
  return own_exp(y * own_log(x));
}

double own_erfc(double x) {
  if (std::isnan(x)) return x;
  const double a = std::fabs(x), e = own_exp(-a * a);
  double tail = 0;
  if (a < 3) {
    // erf a = 2/√π e^(-a²) Σ 2ⁿ a^(2n+1) / (2n+1)!!: no term is negative
    double term = a, sum = a;
    for (int n = 1; n < 70; ++n) sum += term *= 2 * a * a / (2 * n + 1);
    tail = 1 - 2 * std::numbers::inv_sqrtpi * e * sum;
  } else {
    // erfc a = e^(-a²)/√π / (a + (1/2)/(a + (2/2)/(a + (3/2)/(a + …
    double fraction = a;
    for (int n = 60; n > 0; --n) fraction = a + n / 2.0 / fraction;
    tail = e * std::numbers::inv_sqrtpi / fraction;
  }
  return x < 0 ? 2 - tail : tail;
}

/// sin x for quarter 0 and cos x for quarter 1: sin(x + quarter · π/2).
double own_sine(double x, int quarter) {
  // x = n π/2 + r, |r| <= π/4; series to r^19 and r^18, rest below 1e-19
  static constexpr auto kSine = inverse_factorials<9>(3, 2);
  static constexpr auto kCosine = inverse_factorials<9>(2, 2);
  const double n = std::nearbyint(x * (2 / std::numbers::pi));
  const double r = ((x - n * kHalfPi[0]) - n * kHalfPi[1]) - n * kHalfPi[2];
  const double r2 = r * r;
  const int turn = (static_cast<int>(n) + quarter) & 3;
  const double value =
      turn % 2 == 0 ? r - r * r2 * horner(kSine, -r2) : 1 - r2 * horner(kCosine, -r2);
  return turn < 2 ? value : -value;
}

}  // namespace

double exp(double x) { return is_portable() ? own_exp(x) : std::exp(x); }
float exp(float x) {
  return is_portable() ? static_cast<float>(own_exp(static_cast<double>(x))) : std::exp(x);
}
double log(double x) { return is_portable() ? own_log(x) : std::log(x); }
float log(float x) {
  return is_portable() ? static_cast<float>(own_log(static_cast<double>(x))) : std::log(x);
}
double pow(double x, double y) { return is_portable() ? own_pow(x, y) : std::pow(x, y); }
double erfc(double x) { return is_portable() ? own_erfc(x) : std::erfc(x); }
double sin(double x) {
  return is_portable() && std::fabs(x) <= kLargestAngle ? own_sine(x, 0) : std::sin(x);
}
double cos(double x) {
  return is_portable() && std::fabs(x) <= kLargestAngle ? own_sine(x, 1) : std::cos(x);
}

}  // namespace notch::elementary
