// Random numbers. The expected integers come from a separate Python implementation of xoshiro256**
// and SplitMix64 written from the papers with unbounded integers masked to 64 bits; the sequence
// from state {1, 2, 3, 4} is also the published one (11520, 0, 1509978240, ...). Quantiles: mpmath,
// 40 digits.
#include "autograd/base/rng.h"

#include <bit>
#include <cmath>
#include <set>
#include <vector>

#include "tests/catch.h"

namespace rng_test {

using namespace notch;

// An Rng whose next output is `wanted`: the output depends on s[1] alone, rotl(s[1] * 5, 7) * 9.
Rng rng_giving(std::uint64_t wanted) {
  constexpr std::uint64_t kInverse5 = 0xcccccccccccccccdu, kInverse9 = 0x8e38e38e38e38e39u;
  static_assert(kInverse5 * 5 == 1 && kInverse9 * 9 == 1);
  Rng rng(0);
  rng.set_state({1, std::rotr(wanted * kInverse9, 7) * kInverse5, 2, 3});
  return rng;
}

// normal() of the uniform (k + 1/2) 2^-52 nearest below p.
double normal_at(double p) {
  return rng_giving(static_cast<std::uint64_t>(p * 0x1p52) << 12).normal();
}

TEST_CASE("the generator gives the published sequence of xoshiro256**") {
  Rng rng(0);
  rng.set_state({1, 2, 3, 4});
  const std::vector<std::uint64_t> expected = {
      11520u, 0u, 1509978240u, 1215971899390074240u, 1216172134540287360u, 607988272756665600u};
  for (const std::uint64_t x : expected) CHECK(rng.next() == x);
}

TEST_CASE("mix64 is SplitMix64's output function") {
  CHECK(mix64(0) == 0xe220a8397b1dcdafu);  // the first two published outputs from seed 0
  CHECK(mix64(0x9e3779b97f4a7c15u) == 0x6e789e6aa1b965f4u);
}

TEST_CASE("seeds and streams give an independent implementation's numbers") {
  const auto three = [](std::uint64_t seed, std::uint64_t stream) {
    Rng rng(seed, stream);
    std::vector<std::uint64_t> out;
    for (int i = 0; i < 3; ++i) out.push_back(rng.next());
    return out;
  };
  using Words = std::vector<std::uint64_t>;
  CHECK(three(0, 0) == Words{0x8c4986f3f0e565d5u, 0xf4547fdf5c2f56b6u, 0x6a9e0d6a14f022fbu});
  CHECK(three(1337, 0) == Words{0x3b53a91df1fe7d47u, 0x572bc908c79800e1u, 0xe16141ca5e170adfu});
  CHECK(three(1337, 1) == Words{0xce976ba1313d4852u, 0x54624e59db54ed6cu, 0xb7f482137ec60f52u});
  Rng rng(7);
  std::uint64_t last = 0;
  for (int i = 0; i < 1000000; ++i) last = rng.next();
  CHECK(last == 0x3fdd121950e25f0cu);
}

TEST_CASE("neighbouring seeds and streams share no numbers") {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (std::uint64_t stream = 0; stream < 20; ++stream) {
      Rng rng(seed, stream);
      for (int i = 0; i < 10; ++i) seen.insert(rng.next());
    }
  }
  CHECK(seen.size() == 4000);
}

TEST_CASE("a saved state continues the sequence") {
  Rng rng(3);
  for (int i = 0; i < 5; ++i) rng.normal();
  Rng copy(99);
  copy.set_state(rng.state());
  for (int i = 0; i < 5; ++i) CHECK(copy.next() == rng.next());
}

TEST_CASE("below stays in range, evenly, as an independent one does") {
  Rng fixed(42, 3);
  for (const std::uint64_t x : {8u, 3u, 4u, 9u, 3u, 0u, 4u, 3u, 4u, 0u, 1u, 9u}) {
    CHECK(fixed.below(10) == x);
  }
  Rng rng(5);
  for (int i = 0; i < 100; ++i) CHECK(rng.below(1) == 0);
  // Half of all words are rejected: here 1 of the first 5.
  const std::uint64_t large = (std::uint64_t{1} << 63) + 1;
  Rng rejecting(42, 3);
  for (const std::uint64_t x :
       {4033822400697593929u, 5113316451526030614u, 6803522028121456535u, 4359613516291236014u})
    CHECK(rejecting.below(large) == x);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[rng.below(6)];
  // Each is binomial with sd sqrt(60000 * 1/6 * 5/6) = 91; six of them within 5 sd.
  for (const int count : counts) CHECK(std::abs(count - 10000) < 457);
  CHECK(test::error_of([&] { rng.below(0); }).fault == Fault::usage);
}

TEST_CASE("uniform covers 0 to 1 with the extremes it promises") {
  CHECK(rng_giving(0).uniform() == 0.0);
  CHECK(rng_giving(~std::uint64_t{0}).uniform() == 1.0 - 0x1p-53);
  Rng rng(11);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) sum += rng.uniform();
  CHECK(std::fabs(sum / 100000 - 0.5) < 5 * 0.2887 / std::sqrt(100000.0));
}

TEST_CASE("normal gives the quantile of its uniform number") {
  const std::vector<std::pair<double, double>> quantiles = {
      {0.6, 0.2533471031357997988},   {0.925, 1.4395314709384559153},
      {0.93, 1.4757910281791707352},  {0.975, 1.9599639845400542355},
      {0.999, 3.0902323061678135415}, {1e-3, -3.0902323061678135415},
  };
  for (const auto& [p, z] : quantiles) {
    // The uniform number is within 2^-52 of p; dz/dp = 1/pdf(z) < 300 here.
    CHECK(std::fabs(normal_at(p) - z) < 300 * 0x1p-52 + 4e-16 * std::fabs(z));
  }
  CHECK(rng_giving(0).normal() == Approx(-8.2095361516013868556).epsilon(1e-15));  // p = 2^-53
}

TEST_CASE("normal inverts the normal distribution in all three ranges") {
  for (double p = 0x1p-50; p < 0.5; p *= 1.37) {
    const double z = normal_at(p);
    const double u = (std::floor(p * 0x1p52) + 0.5) * 0x1p-52;  // the uniform number used
    // erfc is good to some 1e-16 relative; z's error of 1e-16 is magnified by |z| pdf/cdf ~ z^2.
    CHECK(0.5 * std::erfc(-z / std::sqrt(2.0)) == Approx(u).epsilon(1e-15 * (10 + 2 * z * z)));
    CHECK(rng_giving(~(static_cast<std::uint64_t>(p * 0x1p52) << 12)).normal() == -z);
  }
}

TEST_CASE("normal has the moments and tails of N(0, 1)") {
  Rng rng(17);
  const int n = 400000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0;
  int beyond2 = 0, beyond3 = 0;
  for (int i = 0; i < n; ++i) {
    const double z = rng.normal();
    sum += z;
    squares += z * z;
    cubes += z * z * z;
    fourths += z * z * z * z;
    beyond2 += std::fabs(z) > 2;
    beyond3 += std::fabs(z) > 3;
  }
  // Five standard errors: var(z) = 1, var(z^2) = 2, var(z^3) = 15, var(z^4) = 96.
  const double root = std::sqrt(static_cast<double>(n));
  CHECK(std::fabs(sum / n) < 5 / root);
  CHECK(std::fabs(squares / n - 1) < 5 * std::sqrt(2.0) / root);
  CHECK(std::fabs(cubes / n) < 5 * std::sqrt(15.0) / root);
  CHECK(std::fabs(fourths / n - 3) < 5 * std::sqrt(96.0) / root);
  // P(|z| > 2) = 0.0455003, P(|z| > 3) = 0.0026998.
  CHECK(std::fabs(beyond2 - 0.0455003 * n) < 5 * std::sqrt(0.0455003 * n));
  CHECK(std::fabs(beyond3 - 0.0026998 * n) < 5 * std::sqrt(0.0026998 * n));
}

TEST_CASE("counter_uniform is a function of key and index, 0 to 1, mean 0.5") {
  // Printed by tests/fixtures/counter_uniform.py.
  CHECK(counter_uniform(5, 0) == 0.244917631149292f);
  CHECK(counter_uniform(5, 1) == 0.6924455761909485f);
  CHECK(counter_uniform(5, 2) == 0.5829760432243347f);
  double sum = 0;
  for (std::uint64_t i = 0; i < 100000; ++i) {
    const float u = counter_uniform(123, i);
    REQUIRE((u >= 0 && u < 1));
    sum += u;
  }
  CHECK(std::fabs(sum / 100000 - 0.5) < 5 * 0.2887 / std::sqrt(100000.0));
}

}  // namespace rng_test
