// Random numbers that are the same with every compiler and standard library.
//
// Rng is xoshiro256** (Blackman and Vigna 2018) seeded by SplitMix64 from (seed, stream): two streams of
// one seed are independent, and nothing depends on how many numbers another stream has drawn.
// counter_uniform is stateless, for masks that must not depend on the order in which elements are visited.
#pragma once

#include <array>
#include <cstdint>

namespace notch {

class Rng {
 public:
  using State = std::array<std::uint64_t, 4>;
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0);

  std::uint64_t next();                  ///< 64 uniform bits
  std::uint64_t below(std::uint64_t n);  ///< uniform in [0, n), unbiased (rejection); n >= 1
  double uniform();                      ///< uniform in [0, 1), 53 bits
  double normal();  ///< N(0, 1): inverse CDF of one uniform (Wichura 1988, AS 241)

  const State& state() const { return state_; }
  void set_state(const State& s);  ///< refuses zeros, from which nothing but zeros comes

 private:
  State state_;
};

/// One step of SplitMix64's output function: a good 64-bit mix of `x`.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A uniform float in [0, 1) that is a pure function of (key, index).
constexpr float counter_uniform(std::uint64_t key, std::uint64_t index) {
  return static_cast<float>(mix64(key ^ mix64(index)) >> 40) * 0x1p-24f;
}

}  // namespace notch
