#include "experiments/report/moderation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/error.h"

namespace notch::experiments {
namespace {

// Both by recurrence to x >= 8 and the asymptotic series there (DLMF 5.11.2, 5.15.8), within 1e-10.
double digamma(double x) {
  double sum = 0;
  for (; x < 8; ++x) sum -= 1 / x;
  const double r = 1 / (x * x);
  return sum + std::log(x) - 0.5 / x - r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r / 240)));
}

double trigamma(double x) {
  double sum = 0;
  for (; x < 8; ++x) sum += 1 / (x * x);
  const double r = 1 / (x * x);
  return sum + 1 / x + r / 2 +
         r / x * (1.0 / 6 - r * (1.0 / 30 - r * (1.0 / 42 - r * (1.0 / 30 - r * 5 / 66))));
}

/// The x with trigamma(x) = y, by bisection: it falls from infinity to zero.
double trigamma_inverse(double y) {
  double low = 1e-6, high = 1e6;
  while (high > low * (1 + 1e-12)) {
    const double middle = std::sqrt(low) * std::sqrt(high);
    (trigamma(middle) > y ? low : high) = middle;
  }
  return low;
}

bool tells(const ErrorPart& part) { return part.variance > 0 && std::isfinite(part.variance); }

}  // namespace

SpreadPrior spread_prior(std::span<const double> variances, double df) {
  if (variances.size() < 3) return {};
  check(df > 0 && std::isfinite(df), "spread prior", "variances of ", df, " degrees of freedom");
  check(std::ranges::all_of(variances, [](double v) { return v > 0 && std::isfinite(v); }),
        "spread prior", "a variance is not positive");
  const double n = static_cast<double>(variances.size());
  double mean = 0, squares = 0;
  for (const double v : variances) mean += std::log(v) / n;
  for (const double v : variances) squares += (std::log(v) - mean) * (std::log(v) - mean);
  const double excess = squares / (n - 1) - trigamma(df / 2);
  const double centre = mean - digamma(df / 2) + std::log(df / 2);
  const double most = trigamma(1e5);
  if (excess <= most) {
    return {.variance = std::exp(centre), .df = std::numeric_limits<double>::infinity()};
  }
  const double half = trigamma_inverse(excess);
  return {.variance = std::exp(centre + digamma(half) - std::log(half)), .df = 2 * half};
}

void moderate(std::span<ErrorPart> seeds, std::span<const double> scales, std::int64_t rows) {
  check(seeds.size() == scales.size(), "moderate", seeds.size(), " differences and ", scales.size(),
        " scales");
  check(
      std::ranges::all_of(scales, [](double c) { return c > 0 && std::isfinite(c); }) && rows >= 0,
      "moderate", "scales are positive, and rows counted: ", rows);
  std::vector<double> relative;
  double df = 0;
  for (std::size_t p = 0; p < seeds.size(); ++p) {
    if (!tells(seeds[p])) continue;
    relative.push_back(seeds[p].variance / scales[p]);
    df = seeds[p].df;
  }
  SpreadPrior prior = spread_prior(relative, df);
  prior.df = std::min(prior.df, static_cast<double>(rows - 1) * df - df);
  if (!(prior.df > 0)) return;
  for (std::size_t p = 0; p < seeds.size(); ++p) {
    if (!tells(seeds[p])) continue;
    ErrorPart& part = seeds[p];
    part.variance = (prior.df * prior.variance * scales[p] + df * part.variance) / (prior.df + df);
    part.df = prior.df + df;
  }
}

}  // namespace notch::experiments
