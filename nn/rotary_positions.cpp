#include "nn/rotary_positions.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/kernels/rotary.h"

namespace notch::nn {

std::vector<double> rope_divisors(const RopeScaling& s, std::int64_t HS, double theta) {
  check(s.factor >= 1 && std::isfinite(s.factor) && s.low_freq_factor > 0 &&
            s.high_freq_factor > s.low_freq_factor && std::isfinite(s.high_freq_factor) &&
            s.original_context > 0,
        "rope scaling", "factor ", s.factor, ", low_freq_factor ", s.low_freq_factor,
        ", high_freq_factor ", s.high_freq_factor, ", original context ", s.original_context,
        "; expected factor >= 1, 0 < low < high, a context above 0");
  if (s.factor == 1) return {};
  std::vector<double> divisors;
  for (std::int64_t i = 0; i < HS / 2; ++i) {
    const double speed =
        elementary::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(HS));
    const double turns = static_cast<double>(s.original_context) * speed / (2 * std::numbers::pi);
    const double kept = std::clamp(
        (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
    divisors.push_back(1 / (kept + (1 - kept) / s.factor));
  }
  return divisors;
}

RotaryPositions::RotaryPositions(std::int64_t positions, std::int64_t HS, double theta,
                                 const RopeScaling& scaling)
    : positions_(positions), HS_(HS), theta_(theta), divisors_(rope_divisors(scaling, HS, theta)) {}

const Tensor& RotaryPositions::table(std::int64_t used) const {
  constexpr std::uint64_t kLeast = 1024;
  const auto wanted = static_cast<std::uint64_t>(std::clamp<std::int64_t>(used, 0, positions_));
  const std::scoped_lock lock(mutex_);
  if (tables_.empty() || tables_.back().tensor.rows() < static_cast<std::int64_t>(wanted)) {
    const std::int64_t n =
        std::min(positions_, static_cast<std::int64_t>(std::max(kLeast, std::bit_ceil(wanted))));
    Table longer{.values = FlatBlock(static_cast<std::size_t>(n * HS_))};
    longer.tensor = {longer.values.flat().data(), {n, HS_}};
    kernels::rotary_table(longer.values.flat(), n, HS_, theta_, divisors_);
    tables_.push_back(std::move(longer));
  }
  return tables_.back().tensor;
}

}  // namespace notch::nn
