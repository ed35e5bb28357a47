// Student's t against its closed forms and a printed table.
#include "experiments/report/student.h"

#include <cmath>
#include <numbers>

#include "tests/catch.h"

namespace notch::experiments::student_test {

TEST_CASE("One and two degrees of freedom have a closed form") {
  for (const double t : {-300.0, -12.7, -2.0, -0.3, 0.0, 0.01, 1.0, 4.3, 63.7}) {
    INFO(t);
    CHECK(t_cdf(t, 1) == Approx(0.5 + std::atan(t) / std::numbers::pi).epsilon(1e-10));
    CHECK(t_cdf(t, 2) == Approx(0.5 + t / (2 * std::sqrt(2 + t * t))).epsilon(1e-9));
  }
}

TEST_CASE("Many degrees of freedom give the normal distribution") {
  for (const double t : {-3.0, -1.0, 0.5, 2.0}) {
    INFO(t);
    CHECK(t_cdf(t, 1e9) == Approx(std::erfc(-t / std::numbers::sqrt2) / 2).epsilon(1e-4));
  }
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(t_cdf(infinity, 3) == 1);
  CHECK(t_cdf(-infinity, 3) == 0);
}

TEST_CASE("Quantiles are those of the table of Fisher and Yates") {
  CHECK(t_quantile(0.975, 1) == Approx(12.7062).epsilon(1e-5));
  CHECK(t_quantile(0.975, 2) == Approx(4.30265).epsilon(1e-5));
  CHECK(t_quantile(0.975, 4) == Approx(2.77645).epsilon(1e-5));
  CHECK(t_quantile(0.95, 10) == Approx(1.81246).epsilon(1e-5));
  CHECK(t_quantile(0.995, 30) == Approx(2.75000).epsilon(1e-5));
  CHECK(t_quantile(0.975, 1e6) == Approx(1.95996).epsilon(1e-5));
  CHECK(t_quantile(0.025, 4) == Approx(-2.77645).epsilon(1e-5));
  CHECK(t_quantile(0.5, 7) == Approx(0).margin(1e-9));
}

}  // namespace notch::experiments::student_test
