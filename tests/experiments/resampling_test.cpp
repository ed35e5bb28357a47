// Resampling: its variances against closed forms, and that threads do not change a bit.
#include "experiments/resampling.h"

#include <cmath>

#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "tests/catch.h"

namespace notch::experiments {
namespace {

using test::error_of;

struct Moments {
  double mean = 0, variance = 0;
};

template <class Value>
Moments moments(const Resamples& r, const Value& value) {
  Moments m;
  for (std::int64_t i = 0; i < r.count(); ++i) m.mean += value(i) / static_cast<double>(r.count());
  for (std::int64_t i = 0; i < r.count(); ++i) {
    m.variance += (value(i) - m.mean) * (value(i) - m.mean) / static_cast<double>(r.count());
  }
  return m;
}

TEST_CASE("Blocks are as long as the cube root of the number of windows") {
  CHECK(block_length(1) == 1);
  CHECK(block_length(7) == 1);
  CHECK(block_length(8) == 2);
  CHECK(block_length(26) == 2);
  CHECK(block_length(27) == 3);
  CHECK(block_length(1743) == 12);
}

TEST_CASE("What was measured is the mean over seeds of the mean per token") {
  // Rows a, b; windows of 4 and 2 tokens; seeds 1, 2.
  const WindowLosses m{
      .rows = 2, .windows = 2, .seeds = 2, .losses = {8, 1, 4, 2, 6, 3, 0, 0}, .tokens = {4, 2}};
  const Resamples r(m, 10);
  CHECK(r.measured()[0] == Approx((12.0 / 6 + 6.0 / 6) / 2));
  CHECK(r.measured()[1] == Approx((3.0 / 6 + 3.0 / 6) / 2));
  CHECK(r.blocks() == 2);
}

TEST_CASE("With one seed the variance is the plug-in variance of a mean of windows") {
  // Means 1 .. 7 over 7 windows: the mean of 7 draws has variance ((49 - 1)/12) / 7 = 4/7.
  WindowLosses m{.rows = 1, .windows = 7, .seeds = 1};
  for (int w = 1; w <= 7; ++w) {
    m.losses.push_back(10.0 * w);
    m.tokens.push_back(10);
  }
  const Resamples r(m, 20'000);
  const Moments found = moments(r, [&](std::int64_t i) { return r.all_seeds(i)[0]; });
  CHECK(found.mean == Approx(4).epsilon(0.01));
  CHECK(found.variance == Approx(4.0 / 7).epsilon(0.05));
  CHECK(r.drawn(0)[0] == r.all_seeds(0)[0]);
}

TEST_CASE("Blocks keep what neighbours share") {
  // 27 windows in 9 runs of three equal values, alternately 0 and 1 but for the last: a block of 3
  // has a mean of 0, 1/3, 2/3 or 1, so the variance is far above that of single windows.
  WindowLosses m{.rows = 1, .windows = 27, .seeds = 1};
  for (int w = 0; w < 27; ++w) {
    m.losses.push_back(w / 3 % 2);
    m.tokens.push_back(1);
  }
  const Resamples r(m, 20'000);
  CHECK(r.blocks() == 9);
  double mean = 0, squares = 0;  // of the 27 circular blocks
  for (int s = 0; s < 27; ++s) {
    double sum = 0;
    for (int k = 0; k < 3; ++k) sum += (s + k) % 27 / 3 % 2;
    mean += sum / 3 / 27;
    squares += sum * sum / 9 / 27;
  }
  const Moments found = moments(r, [&](std::int64_t i) { return r.all_seeds(i)[0]; });
  CHECK(found.variance == Approx((squares - mean * mean) / 9).epsilon(0.05));
}

TEST_CASE("Drawing one seed less makes the variance over seeds unbiased") {
  // Seeds at 0, 3, 6 and no differences between windows: s^2 / S = 9 / 3.
  WindowLosses m{
      .rows = 1, .windows = 2, .seeds = 3, .losses = {0, 0, 3, 3, 6, 6}, .tokens = {1, 1}};
  const Resamples r(m, 20'000);
  CHECK(moments(r, [&](std::int64_t i) { return r.drawn(i)[0]; }).variance ==
        Approx(3).epsilon(0.05));
  CHECK(moments(r, [&](std::int64_t i) { return r.all_seeds(i)[0]; }).variance ==
        Approx(0).margin(1e-20));
}

TEST_CASE("The same resamples come from any number of threads") {
  WindowLosses m{.rows = 3, .windows = 50, .seeds = 2};
  Rng rng(5);
  for (int i = 0; i < 300; ++i) m.losses.push_back(rng.normal());
  for (int i = 0; i < 50; ++i) m.tokens.push_back(1 + static_cast<double>(rng.below(4)));
  set_threads(1);
  const Resamples one(m, 500);
  set_threads(3);
  const Resamples three(m, 500);
  set_threads(0);
  for (std::int64_t i = 0; i < 500; ++i) {
    CHECK(std::ranges::equal(one.drawn(i), three.drawn(i)));
    CHECK(std::ranges::equal(one.all_seeds(i), three.all_seeds(i)));
  }
}

TEST_CASE("Sizes that do not fit are refused") {
  const WindowLosses good{.rows = 1, .windows = 2, .seeds = 1, .losses = {1, 2}, .tokens = {1, 1}};
  WindowLosses bad = good;
  bad.losses.pop_back();
  CHECK(error_of([&] { Resamples(bad, 10); }).fault == Fault::usage);
  bad = good;
  bad.tokens.push_back(1);
  CHECK(error_of([&] { Resamples(bad, 10); }).fault == Fault::usage);
  CHECK(error_of([&] { Resamples(good, 0); }).fault == Fault::usage);
}

}  // namespace
}  // namespace notch::experiments
