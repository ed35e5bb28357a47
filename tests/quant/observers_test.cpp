// Observers: each rule against a number that follows from its definition or from an independent
// implementation, the histogram's exactness when its range grows, and per-channel = one by one.
#include "quant/numbers/observers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/names.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"
#include "tests/catch.h"

namespace observers_test {

using namespace notch;
using namespace notch::quant;
using notch::test::error_of;

constexpr ActivationSpec with(ObserverRule rule, int bits = 8, bool symmetric = true) {
  return {.bits = bits, .symmetric = symmetric, .range = ActivationRange::fixed, .observer = rule};
}

MinMax range_of(const ActivationSpec& spec, std::span<const real> x) {
  Observer observer(spec);
  observer.observe(x);
  return observer.range();
}

std::vector<real> normals(std::size_t n, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<real> v(n);
  for (real& x : v) x = static_cast<real>(rng.normal());
  return v;
}

/// The quantiles of the exponential distribution: -log(1 - (i + 1/2)/n).
std::vector<real> exponential(int n) {
  std::vector<real> v;
  for (int i = 0; i < n; ++i) v.push_back(static_cast<real>(-std::log(1 - (i + 0.5) / n)));
  return v;
}

TEST_CASE("a histogram that grew counts as one of its final width") {
  // Sixteenths and limits that are powers of two: every bin edge is exact.
  std::vector<real> small, large;
  for (int i = -64; i <= 64; ++i) small.push_back(static_cast<real>(i) / 64);
  for (int i = -63; i <= 63; ++i) large.push_back(static_cast<real>(i) / 10);
  large.push_back(-8);
  Histogram grown, known;
  grown.add(small);
  CHECK(grown.width() == 1.0 / 2048);
  grown.add(large);
  known.add(large);
  known.add(small);
  CHECK(grown.width() == 8.0 / 2048);
  CHECK(grown.width() == known.width());
  std::int64_t count = 0;
  for (std::int64_t i = -Histogram::kBins; i < Histogram::kBins; ++i) {
    count += grown.at(i);
    // The largest values of the first batch, 1 and -1, were on the outer edge and counted inside
    // it.
    const std::int64_t shifted = i == 255 || i == -256 ? 1 : i == 256 || i == -257 ? -1 : 0;
    CHECK(grown.at(i) == known.at(i) + shifted);
  }
  CHECK(count == std::ssize(small) + std::ssize(large));
  CHECK(grown.count() == count);
  CHECK(grown.extremes().lo == -8);
  CHECK(grown.extremes().hi == static_cast<real>(6.3));
  CHECK(grown.at(-Histogram::kBins) == 1);  // the outer edge belongs to the outermost bin
}

TEST_CASE("a histogram takes zeros before a width, non-finite values never") {
  Histogram h;
  h.add(std::vector<real>(5, 0));
  CHECK(h.width() == 0);
  CHECK(percentile_range(h, {}).hi == 0);
  CHECK(entropy_range(h, {}).hi == 0);
  h.add(std::vector<real>{1});
  CHECK(h.at(0) == 5);
  CHECK(h.at(Histogram::kBins - 1) == 1);
  for (const real bad :
       {std::numeric_limits<real>::infinity(), std::numeric_limits<real>::quiet_NaN()}) {
    CHECK(error_of([&] { h.add(std::vector<real>{bad}); }).fault == Fault::numeric);
  }
  CHECK(h.count() == 6);
}

TEST_CASE("min-max is the extremes with 0, the moving average recursive") {
  const std::vector<real> first{1, 2, -3}, second{5, 4}, third{-7};
  Observer minmax(with(ObserverRule::minmax)), average(with(ObserverRule::moving_average));
  for (const auto& batch : {first, second, third}) {
    minmax.observe(batch);
    average.observe(batch);
  }
  CHECK(minmax.range().lo == -7);
  CHECK(minmax.range().hi == 5);
  // hi: 2, then 2 + 0.01 (5 - 2), then (its maximum with 0 is 0) -> 2.03 - 0.0203
  CHECK(average.range().hi == Approx(2.0097).epsilon(1e-6));
  // lo: -3, then -3 + 0.01 (0 + 3) = -2.97, then -2.97 + 0.01 (-7 + 2.97)
  CHECK(average.range().lo == Approx(-3.0103).epsilon(1e-6));
  CHECK(range_of(with(ObserverRule::minmax), std::vector<real>{2, 3}).lo == 0);
}

TEST_CASE("a percentile leaves out its share on one side or on both") {
  // 10,000 evenly spaced values: the 99th percentile of magnitudes is 0.99 of the largest.
  std::vector<real> x;
  for (int i = 1; i <= 10000; ++i) x.push_back(static_cast<real>(i) / 10000);
  ActivationSpec spec = with(ObserverRule::percentile);
  spec.percentile = 99;
  const double bin = 1.0 / 2048;
  CHECK(range_of(spec, x).hi == Approx(0.99).margin(bin));
  CHECK(range_of(spec, x).lo == 0);
  // Two-sided: one percent beyond both ends together, half of it beyond each.
  for (int i = 1; i <= 10000; ++i) x.push_back(static_cast<real>(-i) / 5000);
  spec.symmetric = false;
  CHECK(range_of(spec, x).hi == Approx(0.99).margin(2 * bin));
  CHECK(range_of(spec, x).lo == Approx(-1.98).margin(2 * bin));
  spec.percentile = 100;
  CHECK(range_of(spec, x).hi == 1);
  CHECK(range_of(spec, x).lo == -2);
}

TEST_CASE("the least squared error of a normal is at its known step") {
  // Max (1960), "Quantizing for minimum distortion": a uniform quantizer of N(0, 1) with 15 levels
  // has its best step near 0.3534 (16 levels: 0.3352; 4 bits narrow are 15 levels).
  const std::vector<real> x = normals(200000, 5);
  const MinMax range = range_of(with(ObserverRule::mse, 4), x);
  CHECK(std::max(range.hi, -range.lo) / 7 == Approx(0.3534).epsilon(0.04));
  // At 8 bits next to nothing is clipped.
  const MinMax wide = range_of(with(ObserverRule::mse, 8), x);
  CHECK(std::max(wide.hi, -wide.lo) > 3.5);
}

TEST_CASE("the entropy threshold is that of an independent implementation") {
  // The procedure written in 20 lines of Python (lists, no histogram class), run on these values:
  // 128 levels: bin 1836 of 2048, T = 9.5023; 8 levels: bin 1168, T = 6.0460.
  const std::vector<real> x = exponential(20000);
  const double bin = 10.596634864807129 / 2048;
  CHECK(range_of(with(ObserverRule::entropy, 8), x).hi == Approx(9.50230465).margin(2 * bin));
  CHECK(range_of(with(ObserverRule::entropy, 4), x).hi == Approx(6.04598039).margin(2 * bin));
  // Magnitudes: the mirrored sample has the same threshold on both sides.
  std::vector<real> mirrored = x;
  for (const real v : x) mirrored.push_back(-v);
  const MinMax both = range_of(with(ObserverRule::entropy, 4), mirrored);
  CHECK(both.hi == Approx(6.04598039).margin(2 * bin));
  CHECK(both.lo == -both.hi);
}

TEST_CASE("entropy keeps all of an even distribution") {
  std::vector<real> x;
  for (int i = 0; i < 2048 * 8; ++i) x.push_back(static_cast<real>((i + 0.5) / (2048 * 8)));
  CHECK(range_of(with(ObserverRule::entropy), x).hi == x.back());
}

TEST_CASE("a channel's range is that of an observer of it alone") {
  const std::vector<real> x = normals(3 * 400, 7);
  for (const ObserverRule rule :
       {ObserverRule::minmax, ObserverRule::moving_average, ObserverRule::percentile,
        ObserverRule::mse, ObserverRule::entropy}) {
    INFO(word_of(rule));
    Observer all(with(rule, 6, false), 3);
    std::vector<Observer> alone(3, Observer(with(rule, 6, false)));
    for (std::size_t begin = 0; begin < x.size(); begin += 300) {
      const auto batch = std::span(x).subspan(begin, 300);
      all.observe(batch);
      for (std::size_t c = 0; c < 3; ++c) {
        std::vector<real> column;
        for (std::size_t i = c; i < batch.size(); i += 3) column.push_back(batch[i]);
        alone[c].observe(column);
      }
    }
    for (std::int64_t c = 0; c < 3; ++c) {
      CHECK(all.range(c).lo == alone[static_cast<std::size_t>(c)].range().lo);
      CHECK(all.range(c).hi == alone[static_cast<std::size_t>(c)].range().hi);
    }
    CHECK(error_of([&] { all.observe(std::vector<real>(4)); }).fault == Fault::usage);
  }
}

TEST_CASE("what an observer finds does not depend on the number of threads") {
  const std::vector<real> x = normals(300000, 9);
  const int before = threads();
  set_threads(1);
  const MinMax one = range_of(with(ObserverRule::entropy, 6), x);
  set_threads(4);
  const MinMax four = range_of(with(ObserverRule::entropy, 6), x);
  set_threads(before);
  CHECK(one.hi == four.hi);
  CHECK(one.lo == four.lo);
}

}  // namespace observers_test
