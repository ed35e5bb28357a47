// What a stage's share of heads, channels, ranks and steps is in whole ones.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/base/error.h"
#include "experiments/config/pipeline.h"

namespace notch::experiments {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;  // of what multiples of are sought

void require_count(std::int64_t n, const char* of) {
  check(n > 0 && n <= kMost, "pipeline", n, ' ', of, ", not 1 to ", kMost);
}

void require_part(double gone, std::int64_t group) {
  check(gone >= 0 && gone <= 1, "pipeline", "a share of ", gone, " that goes, not 0 to 1");
  check(group <= kMost, "pipeline", "groups of ", group, ", not up to ", kMost);
}

}  // namespace

std::int64_t channels_left(std::int64_t inner, double gone, std::int64_t group) {
  require_count(inner, "channels");
  require_part(gone, group);
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
  require_count(heads, "heads");
  require_count(channels, "channels of a head");
  require_part(gone, group);
  const std::int64_t unit = std::lcm(channels, std::max<std::int64_t>(1, group)) / channels;
  if (heads % unit != 0) return heads;  // groups that do not fit are refused elsewhere
  const std::int64_t units = heads / unit;
  const double left = static_cast<double>(units) * (1 - gone);
  return std::clamp<std::int64_t>(std::llround(left), 1, units) * unit;
}

std::int64_t rank_unit(std::int64_t group) {
  require_part(0, group);
  return std::lcm(std::int64_t{8}, std::max<std::int64_t>(1, group));
}

bool trains_again(std::span<const PipelineStage> stages, std::size_t i) {
  check(i < stages.size(), "pipeline", "stage ", i, " of ", stages.size());
  return i > 0 && stages[i].trains() && stages[i - 1].begins_again();
}

std::vector<StepRange> step_ranges(std::span<const PipelineStage> stages, std::int64_t steps,
                                   std::int64_t base_steps) {
  std::vector<StepRange> out(stages.size());
  std::vector<std::size_t> parts;
  double said = 0, silent = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].kind == PipelineStage::Kind::rewind) out[i] = {0, stages[i].count};
    if (!stages[i].trains()) continue;
    if (trains_again(stages, i)) {
      out[i] = {stages[i - 1].count, base_steps};
      continue;
    }
    parts.push_back(i);
    said += stages[i].share;
    silent += stages[i].share == 0;
  }
  const auto least = std::ssize(parts);
  check(steps >= least && base_steps >= 0 && std::isfinite(said), "pipeline", least,
        " stages share ", steps, " steps");
  std::int64_t first = 0;
  double until = 0;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const double share = stages[parts[k]].share;
    until += share > 0 ? share : (1 - said) / silent;
    const auto after = static_cast<std::int64_t>(parts.size() - 1 - k);
    const std::int64_t wanted = std::llround(until * static_cast<double>(steps));
    out[parts[k]] = {first, after == 0 ? steps : std::clamp(wanted, first + 1, steps - after)};
    first = out[parts[k]].last;
  }
  return out;
}

}  // namespace notch::experiments
