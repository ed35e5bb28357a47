// xoshiro256** 1.0 (Blackman and Vigna 2018, "Scrambled linear pseudorandom number generators") and
// the inverse normal CDF of Wichura 1988 (AS 241, routine PPND16, relative accuracy about 1e-16).
//
// Only +, -, *, /, sqrt and exponent extraction are used, which IEEE 754 defines to the last bit:
// the logarithm of the tails is our own, because those of two C libraries may differ in the last
// place.
#include "autograd/base/rng.h"

#include <bit>
#include <cmath>

#include "autograd/base/error.h"

namespace notch {
namespace {

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;  // SplitMix64's increment

// Natural logarithm of x in (0, 1), normal numbers only. x = m 2^e with m in [sqrt(1/2), sqrt(2)),
// and
//   log m = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...),  s = (m - 1)/(m + 1), |s| < 0.1716,
// cut after s^23: the rest is below 1e-19 of the sum.
double log_portable(double x) {
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) {
    m *= 2;
    --e;
  }
  const double s = (m - 1) / (m + 1);
  const double s2 = s * s;
  double series = 0;
  for (int k = 23; k >= 1; k -= 2) series = series * s2 + 1.0 / k;
  return e * 0.69314718055994531 + 2 * s * series;
}

template <std::size_t N>
double polynomial(const std::array<double, N>& coefficients, double x) {
  double sum = 0;
  for (std::size_t i = N; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

// Coefficients in ascending order, as printed: a, b for |p - 1/2| <= 0.425; c, d for r <= 5; e, f
// beyond.
constexpr std::array<double, 8> kA = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                                      1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                      4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                      3.3430575583588128105e+4, 2.5090809287301226727e+3};
constexpr std::array<double, 8> kB = {1.0,
                                      4.2313330701600911252e+1,
                                      6.8718700749205790830e+2,
                                      5.3941960214247511077e+3,
                                      2.1213794301586595867e+4,
                                      3.9307895800092710610e+4,
                                      2.8729085735721942674e+4,
                                      5.2264952788528545610e+3};
constexpr std::array<double, 8> kC = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                      5.76949722146069140550e0,  3.64784832476320460504e0,
                                      1.27045825245236838258e0,  2.41780725177450611770e-1,
                                      2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> kD = {1.0,
                                      2.05319162663775882187e0,
                                      1.67638483018380384940e0,
                                      6.89767334985100004550e-1,
                                      1.48103976427480074590e-1,
                                      1.51986665636164571966e-2,
                                      5.47593808499534494600e-4,
                                      1.05075007164441684324e-9};
constexpr std::array<double, 8> kE = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                      1.78482653991729133580e0,  2.96560571828504891230e-1,
                                      2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                      2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> kF = {1.0,
                                      5.99832206555887937690e-1,
                                      1.36929880922735805310e-1,
                                      1.48753612908506148525e-2,
                                      7.86869131145613259100e-4,
                                      1.84631831751005468180e-5,
                                      1.42151175831644588870e-7,
                                      2.04426310338993978564e-15};

double inverse_normal(double p) {
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kA, r) / polynomial(kB, r);
  }
  const double r = std::sqrt(-log_portable(q < 0 ? p : 1 - p));
  const double z = r <= 5 ? polynomial(kC, r - 1.6) / polynomial(kD, r - 1.6)
                          : polynomial(kE, r - 5) / polynomial(kF, r - 5);
  return q < 0 ? -z : z;
}

}  // namespace

Rng::Rng(std::uint64_t seed, std::uint64_t stream) : state_{} {
  // mix64 is a bijection, so at most one of the four words is 0 (all four would be a fixed point).
  std::uint64_t x = mix64(mix64(seed) + stream);
  for (std::uint64_t& word : state_) {
    word = mix64(x);
    x += kGolden;
  }
}

void Rng::set_state(const State& s) {
  check(s != State{}, "rng", "a state of zeros gives nothing but zeros");
  state_ = s;
}

std::uint64_t Rng::next() {
  State& s = state_;
  const std::uint64_t result = std::rotl(s[1] * 5, 7) * 9;
  const std::uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return result;
}

std::uint64_t Rng::below(std::uint64_t n) {
  check(n > 0, "rng", "below(0): there is no number in an empty range");
  const std::uint64_t surplus = (0 - n) % n;  // 2^64 mod n: as many of the 2^64 values are rejected
  std::uint64_t x = next();
  while (x < surplus) x = next();
  return x % n;
}

double Rng::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

double Rng::normal() {
  // (k + 1/2) 2^-52 is exact, symmetric about 1/2 and never 0 or 1: |normal()| < 8.3.
  return inverse_normal((static_cast<double>(next() >> 12) + 0.5) * 0x1p-52);
}

}  // namespace notch
