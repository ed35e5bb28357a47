// Oscillation tracking, freezing and dampening against sequences and derivatives worked by hand.
#include "quant/kernels/oscillation.h"

#include <cmath>
#include <vector>

#include "quant/kernels/round.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace oscillation_test {

using namespace notch;
using namespace notch::quant;
using Reals = std::vector<real>;

/// The state of one weight per element, scale 0.1, grid [-7, 7].
struct Watched {
  Reals w{}, code{}, direction{}, frequency{}, mean{}, frozen{};
  explicit Watched(Reals weights) : w(std::move(weights)) {
    for (const real v : w) code.push_back(std::nearbyint(v / 0.1f));
    direction.assign(w.size(), 0);
    frequency.assign(w.size(), 0);
    mean = code;
    frozen.assign(w.size(), kNotFrozen);
  }
  void observe(double threshold, int step = 1) {
    observe_oscillation({code, direction, frequency, mean, frozen}, w,
                        {.scales = Reals{0.1f}, .size = std::ssize(w)}, {-7, 7, step}, 0.1,
                        threshold);
  }
};

TEST_CASE("a weight oscillates when its code moves against its last move") {
  Watched x({0.02f, 0.02f, 0.02f});
  // Codes: back and forth; up and up; still.
  const std::vector<Reals> path{
      {0.12f, 0.12f, 0.03f}, {0.02f, 0.22f, 0.04f}, {0.12f, 0.32f, 0.01f}, {0.12f, 0.42f, 0.0f}};
  for (const Reals& w : path) {
    x.w = w;
    x.observe(1);
  }
  // Moves of the first: up (nothing to be against), down (1), up (1), none (0).
  const double two = 0.1 + 0.9 * 0.1;
  CHECK(x.frequency[0] == Approx(0.9 * two).epsilon(1e-6));
  CHECK(x.frequency[1] == 0);
  CHECK(x.frequency[2] == 0);
  CHECK(x.code == Reals{1, 4, 0});
  CHECK(x.direction == Reals{1, 1, 0});
  CHECK(x.w == path.back());  // nothing is frozen
}

TEST_CASE("a frozen weight stays at its average's code, follows its scale") {
  Watched x({0.12f, 0.5f});
  for (int i = 0; i < 40; ++i) {
    x.w = {i % 4 == 3 ? 0.22f : 0.12f, 0.5f};  // three quarters of the time at 1
    x.observe(0.04);
  }
  CHECK(x.frozen == Reals{1, kNotFrozen});
  CHECK(x.w == Reals{0.1f, 0.5f});
  x.w = {0.4f, 0.4f};
  observe_oscillation({x.code, x.direction, x.frequency, x.mean, x.frozen}, x.w,
                      {.scales = Reals{0.2f}, .size = 2}, {-7, 7}, 0.1, 0.04);
  CHECK(x.w == Reals{0.2f, 0.4f});
}

TEST_CASE("on the odd grid an average between codes freezes at one") {
  Watched x({0.05f});
  x.code = x.mean = {1};
  for (int i = 0; i < 30; ++i) {
    x.w = {i % 2 == 0 ? -0.05f : 0.05f};
    x.observe(0.2, 2);
  }
  CHECK(std::abs(x.frozen[0]) == 1);
  CHECK(std::abs(x.w[0]) == 0.1f);
}

TEST_CASE("without freezing the state is frequency and direction alone") {
  Watched x({0.12f});
  for (int i = 0; i < 20; ++i) {
    x.w = {i % 2 == 0 ? 0.02f : 0.12f};
    observe_oscillation({.code = x.code, .direction = x.direction, .frequency = x.frequency}, x.w,
                        {.scales = Reals{0.1f}, .size = 1}, {-7, 7}, 0.1, 0);
  }
  CHECK(x.frequency[0] > 0.8f);
  CHECK(x.w[0] == 0.12f);
}

TEST_CASE("dampening is the slope of the squared rounding distance") {
  const std::vector<std::int8_t> zero{2};
  const Reals scales{0.5f};
  const Reals w = test::normal_matrix(64, 3, 2);
  Reals dw(64, 1), rounded(64);
  dampen_backward(dw, w, {scales, zero, 64}, {-8, 7}, 0.25);
  fake_quant(rounded, w, {scales, zero, 64}, {-8, 7});
  int clipped = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    // clip(w) - ŵ has slope 1 inside and 0 outside: d/dw 0.25 (clip(w) - ŵ)² = 0.5 (w - ŵ).
    const bool inside = w[i] >= -5 && w[i] <= 2.5f;
    clipped += !inside;
    const double slope = inside ? 0.5 * (double(w[i]) - double(rounded[i])) : 0;
    CHECK(double(dw[i]) == Approx(1 + slope).epsilon(1e-6));
  }
  CHECK(clipped > 3);
  Reals odd(1);
  dampen_backward(odd, Reals{1.75f}, {.scales = Reals{0.5f}, .size = 1}, {-3, 3, 2, 1}, 1);
  CHECK(odd[0] == 2 * 0.25f);  // 3.5 codes: inside the outer cell, 0.5 of a code above 3
}

}  // namespace oscillation_test
