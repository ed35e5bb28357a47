#include "experiments/show/plot_axis.h"

#include "autograd/base/error.h"
#include "experiments/show/table.h"

namespace notch::experiments {
namespace {

constexpr int kMostNumbers = 1000;  // along an axis

/// The least of 1, 2 and 5 times a power of ten that is not below `x` > 0.
double round_up(double x) {
  const double power = std::pow(10.0, std::floor(std::log10(x)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= x * (1 - 1e-12)) return digit * power;
  }
  return 10 * power;
}

}  // namespace

std::string general(double x) {
  const std::string text = printed("%g", x);
  return text[0] == '-' ? "−" + text.substr(1) : text;
}

Scale choose_scale(const Plot& plot) {
  std::vector<double> sizes;
  double highest = 0, lowest = 0;
  for (const PlotSeries& s : plot.series) {
    for (const PlotPoint& p : s.points) {
      if (!std::isfinite(p.y) || p.y == 0) continue;
      sizes.push_back(std::abs(p.y));
      highest = std::max(highest, p.y);
      lowest = std::min(lowest, p.y);
    }
  }
  if (!plot.may_be_log || sizes.size() < 3) return {};
  std::ranges::sort(sizes);
  const double largest = sizes.back();
  if (largest <= 10 * sizes[sizes.size() / 2]) return {};
  const double smaller_side = std::min(highest, -lowest);
  return {round_up(std::max({smaller_side, sizes[sizes.size() / 4], largest * 1e-4}))};
}

std::vector<Tick> ticks_of(const Scale& scale, const Range& scaled) {
  check(std::isfinite(scale.linear_to) && std::isfinite(scaled.high - scaled.low), "ticks",
        "an axis from ", scaled.low, " to ", scaled.high, ", linear to ", scale.linear_to,
        " has no end");
  check(scale.linear_to <= 0 || std::isnormal(scale.linear_to), "ticks", "an axis linear to ",
        scale.linear_to, " has decades below the smallest number");
  std::vector<Tick> ticks;
  if (scale.linear_to <= 0) {
    for (const double v : round_numbers(scaled.low, scaled.high, 6)) {
      ticks.push_back({v, general(v)});
    }
    return ticks;
  }
  const double end = scale.linear_to, decade = std::pow(10.0, std::floor(std::log10(end) + 1e-9));
  const double reach = std::max(scaled.high, -scaled.low);
  std::vector<double> sizes{end};
  if (end < 4 * decade) sizes.push_back(end / 2);  // 5 has no round half
  for (double power = decade; scale(power) <= reach; power *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit > 1 && reach > 3.5) continue;  // decades enough
      if (digit * power > 1.5 * end) sizes.push_back(digit * power);
    }
  }
  ticks.push_back({0, "0"});
  for (const double size : sizes) {
    for (const double v : {size, -size}) {
      ticks.push_back({v, general(v)});
    }
  }
  std::erase_if(ticks, [&](const Tick& t) {
    return scale(t.value) < scaled.low || scale(t.value) > scaled.high;
  });
  return ticks;
}

std::vector<double> round_numbers(double low, double high, int count) {
  check(std::isfinite(high - low) && low <= high, "round numbers", "none can be listed from ", low,
        " to ", high);
  check(count > 0 && count <= kMostNumbers, "round numbers", count, " of them, not 1 to ",
        kMostNumbers);
  const double rough = (high - low) / count;
  // Multiples of a smaller step would not differ from one another.
  if (!(rough > 1e-12 * std::max(std::abs(low), std::abs(high)))) return {};
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double share = rough / power;
  const double step = power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
  std::vector<double> out;
  // Whole multiples: repeated addition would drift away from round numbers.
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) {
    out.push_back(i == 0 ? 0.0 : i * step);
  }
  return out;
}

std::vector<double> log_numbers(double low, double high) {
  constexpr double kManyDecades = 3.5, kSlack = 1e-9,
                   kReach = 400;  // no number has such a logarithm
  check(low >= -kReach && low <= high && high <= kReach, "log numbers",
        "none can be listed with logarithms from ", low, " to ", high);
  std::vector<double> out;
  for (double power = std::floor(low); power <= high; power += 1) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double value = digit * std::pow(10.0, power), at = std::log10(value);
      if (digit > 1 && high - low > kManyDecades) continue;
      if (at >= low - kSlack && at <= high + kSlack) out.push_back(value);
    }
  }
  return out;
}

}  // namespace notch::experiments
