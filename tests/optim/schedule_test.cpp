#include "optim/schedule.h"

#include <cmath>
#include <limits>

#include "tests/catch.h"

namespace schedule_test {

using namespace notch;
using namespace notch::optim;

TEST_CASE("the warm-up is a line to the peak and has no idle step") {
  const Schedule s{.lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps = 2000};
  CHECK(s(0) == Approx(1e-5));
  CHECK(s(1) == Approx(2e-5));
  CHECK(s(49) == Approx(5e-4));
  CHECK(s(99) == 1e-3);
  CHECK(s(100) == Approx(1e-3));
  const Schedule one{.lr = 1e-3, .min_lr = 1e-4, .warmup = 1, .steps = 2};
  CHECK(one(0) == 1e-3);
  CHECK(one(1) == Approx(1e-3));
}

TEST_CASE("cosine decay has the values of nanoGPT's get_lr") {
  // r = (it - 100) / 1900; min_lr + 0.5 (1 + cos πr) (lr - min_lr) by hand: cos is 1, √2/2, 1/2,
  // 0, -1/2, -1 at r = 0, 1/4, 1/3, 1/2, 2/3, 1.
  const Schedule s{.lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps = 2000};
  CHECK(s(575) == Approx(1e-4 + 0.5 * (1 + std::sqrt(0.5)) * 9e-4));
  CHECK(s(1050) == Approx(5.5e-4));
  CHECK(s(2000) == Approx(1e-4));
  CHECK(s(5000) == Approx(1e-4));
  const Schedule thirds{.lr = 1e-3, .min_lr = 1e-4, .warmup = 0, .steps = 3};
  CHECK(thirds(0) == Approx(1e-3));
  CHECK(thirds(1) == Approx(7.75e-4));
  CHECK(thirds(2) == Approx(3.25e-4));
}

TEST_CASE("linear decay is a line and constant decay is none") {
  Schedule s{.lr = 1, .min_lr = 0.2, .warmup = 10, .steps = 30, .decay = Decay::linear};
  CHECK(s(4) == Approx(0.5));
  CHECK(s(10) == Approx(1));
  CHECK(s(20) == Approx(0.6));
  CHECK(s(29) == Approx(0.24));
  CHECK(s(30) == Approx(0.2));
  s.decay = Decay::constant;
  CHECK(s(4) == Approx(0.5));
  CHECK(s(10) == 1);
  CHECK(s(29) == 1);
}

TEST_CASE("a warm-up as long as the run never divides by zero") {
  const Schedule s{.lr = 1, .min_lr = 0.5, .warmup = 4, .steps = 4};
  CHECK(s(2) == 0.75);
  CHECK(s(3) == 1);
  CHECK(s(4) == 0.5);
}

TEST_CASE("a schedule that makes no sense is refused") {
  const auto refused = [](const Schedule& s) {
    return test::error_of([&] { s.validate(); }).fault == Fault::usage;
  };
  REQUIRE_NOTHROW(Schedule{.warmup = 1, .steps = 1}.validate());
  CHECK(refused({.lr = 1e-4, .min_lr = 1e-3}));
  CHECK(refused({.lr = 1e-3, .min_lr = -1e-3}));
  CHECK(refused({.lr = std::nan("")}));
  CHECK(refused({.lr = std::numeric_limits<double>::infinity()}));
  CHECK(refused({.warmup = 3, .steps = 2}));
  CHECK(refused({.warmup = -1, .steps = 2}));
}

}  // namespace schedule_test
