// What a stage's share of heads, channels and ranks is in whole ones.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiments/config/pipeline.h"

namespace notch::experiments {

std::int64_t channels_left(std::int64_t inner, double gone, std::int64_t group) {
  constexpr std::int64_t kUnits = 8;
  const std::int64_t of_groups = std::max<std::int64_t>(1, group);
  std::int64_t step = std::gcd(inner, std::int64_t{32});
  while (step > 1 && inner / std::lcm(step, of_groups) < kUnits) step /= 2;
  const std::int64_t unit = std::lcm(step, of_groups), units = inner / unit;
  if (units < 2 || inner % unit != 0) return inner;  // groups that do not fit are refused elsewhere
  const double left = static_cast<double>(inner) * (1 - gone) / static_cast<double>(unit);
  return std::clamp<std::int64_t>(std::llround(left), 1, units) * unit;
}

std::int64_t heads_left(std::int64_t heads, std::int64_t channels, double gone,
                        std::int64_t group) {
  const std::int64_t unit = std::lcm(channels, std::max<std::int64_t>(1, group)) / channels;
  if (heads % unit != 0) return heads;  // groups that do not fit are refused elsewhere
  const std::int64_t units = heads / unit;
  const double left = static_cast<double>(units) * (1 - gone);
  return std::clamp<std::int64_t>(std::llround(left), 1, units) * unit;
}

std::int64_t rank_unit(std::int64_t group) {
  return std::lcm(std::int64_t{8}, std::max<std::int64_t>(1, group));
}

}  // namespace notch::experiments
