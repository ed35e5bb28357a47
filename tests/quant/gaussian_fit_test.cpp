// Ranges of a normal distribution against published tables and a sum over a fine grid.
#include "quant/numbers/gaussian_fit.h"

#include <cmath>
#include <numbers>

#include "quant/numbers/format.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace gaussian_fit_test {

using namespace notch;
using namespace notch::quant;

/// The expected squared error by a sum over 200,000 points of ±10 deviations.
double summed_error(const Grid& grid, double s) {
  constexpr int kPoints = 200'000;
  constexpr double kWidth = 20.0 / kPoints;
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double x = -10 + (i + 0.5) * kWidth;
    double nearest = 1e9;
    for (int q = grid.qmin; q <= grid.qmax; q += grid.step)
      nearest = std::min(nearest, std::abs(x - s * double(grid.level(q))));
    sum += nearest * nearest * std::exp(-x * x / 2) * kWidth;
  }
  return sum / std::sqrt(2 * std::numbers::pi);
}

// Max 1960, "Quantizing for minimum distortion", table II: steps between 2, 4, 8 and 16 even levels for
// a standard normal, and the error. seq has levels ±1, ±3, …, so its scale is half a step.
TEST_CASE("the fitted scale is that of Max's table") {
  const struct {
    int bits;
    double step, error;
  } rows[] = {{1, 1.596, 0.3634}, {2, 0.9957, 0.1188}, {3, 0.5860, 0.03744}, {4, 0.3352, 0.01154}};
  for (const auto& row : rows) {
    const Grid grid = grid_of({.bits = row.bits, .grid = GridKind::seq});
    const double s = gaussian_scale(grid);
    CHECK(2 * s == Approx(row.step).epsilon(2e-4));
    CHECK(gaussian_error(grid, s) == Approx(row.error).epsilon(5e-4));
  }
  // OPTIMAL_GAUSSIAN_SCALES of the QuEST authors' code, found by a search: the last level, in
  // deviations.
  CHECK(gaussian_scale(grid_of({.bits = 2, .grid = GridKind::ternary})) ==
        Approx(1.2240089519).epsilon(1e-4));
  CHECK(3 * gaussian_scale(grid_of({.bits = 2, .grid = GridKind::seq})) ==
        Approx(1.4935346200).epsilon(1e-4));
  CHECK(15 * gaussian_scale(grid_of({.bits = 4, .grid = GridKind::seq})) ==
        Approx(2.5139305786).epsilon(1e-4));
}

TEST_CASE("the fitted scale has the least summed error") {
  for (const Spec& spec : {Spec{.bits = 4}, Spec{.bits = 3, .grid = GridKind::full},
                           Spec{.bits = 4, .grid = GridKind::nf4},
                           Spec{.bits = 4, .grid = GridKind::fp4}, Spec{.bits = 6}}) {
    INFO(name_of(spec));
    const Grid grid = grid_of(spec);
    const double s = gaussian_scale(grid), least = gaussian_error(grid, s);
    CHECK(least == Approx(summed_error(grid, s)).epsilon(1e-5));
    for (const double factor : {0.5, 0.9, 0.99, 1.01, 1.1, 2.0})
      CHECK(gaussian_error(grid, factor * s) > least);
  }
}

TEST_CASE("a unit's scale follows its root mean square") {
  const Spec spec{.bits = 4};
  const std::vector<real> unit{3, -4, 0, 5, -5};  // mean square 15
  CHECK(fitted_scale(unit, spec, 0.5) == Approx(0.5 * std::sqrt(15.0)).epsilon(1e-6));
  std::vector<real> doubled = unit;
  for (real& w : doubled) w *= 2;
  CHECK(fitted_scale(doubled, spec, 0.5) == 2 * fitted_scale(unit, spec, 0.5));
  CHECK(fitted_scale(std::vector<real>(4, 0), spec, 0.5) == 1);
  CHECK(trusted_error(grid_of({.bits = 4})) == 0.5);
  CHECK(trusted_error(grid_of({.bits = 2, .grid = GridKind::seq})) == 1);
  // NF4's widest gap is its first, from -1 to -0.6961928.
  CHECK(trusted_error(grid_of({.bits = 4, .grid = GridKind::nf4})) ==
        Approx((1 - 0.6961928) / 2).epsilon(1e-6));
}

}  // namespace gaussian_fit_test
