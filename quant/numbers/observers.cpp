#include "quant/numbers/observers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kBins = Histogram::kBins;
constexpr std::int64_t kTile = 1 << 16;  // values that one task counts

void require_finite(std::span<const real> x) {
  if (all_finite(x)) return;
  throw Error({.fault = Fault::numeric,
               .where = "observer",
               .what = "a value is not finite",
               .expected = "finite activations in calibration"});
}

/// Values of magnitude bin i, from both sides of 0.
std::vector<double> magnitudes(const Histogram& h) {
  std::vector<double> counts(static_cast<std::size_t>(kBins));
  for (std::int64_t i = 0; i < kBins; ++i) {
    counts[static_cast<std::size_t>(i)] = static_cast<double>(h.at(i) + h.at(-1 - i));
  }
  return counts;
}

/// [-threshold, threshold], no wider than what was seen.
MinMax cut(MinMax seen, double threshold) {
  const auto t = static_cast<real>(threshold);
  return {.lo = std::max(seen.lo, -t), .hi = std::min(seen.hi, t)};
}

/// Distance from 0 below which the first `wanted` values of `counts` (bins going outwards) lie,
/// interpolated inside a bin.
template <class Counts>
double quantile(const Counts& counts, double wanted, double width) {
  double below = 0;
  for (std::int64_t i = 0; i < kBins; ++i) {
    const double here = counts(i);
    if (here > 0 && below + here >= wanted) {
      return width * (static_cast<double>(i) + (wanted - below) / here);
    }
    below += here;
  }
  return width * static_cast<double>(kBins);
}

/// A bin of magnitudes that is not empty.
struct Bin {
  std::size_t at = 0;
  double count = 0;
};

/// KL(P || Q) of the first `n` bins, of which `bins` are not empty, with everything beyond added to
/// the last of P. Infinite where all of P would be that last bin: Q is equal to it then, however
/// much is clipped.
double divergence(std::span<const Bin> bins, std::size_t n, std::size_t levels, double beyond) {
  constexpr double kNothing = 1e-4;
  std::vector<double> p, q;
  for (std::size_t first = 0; first < bins.size();) {
    const std::size_t level = bins[first].at * levels / n;
    double sum = 0;
    for (; p.size() < bins.size() && bins[p.size()].at * levels / n == level;) {
      sum += bins[p.size()].count;
      p.push_back(bins[p.size()].count);
    }
    q.insert(q.end(), p.size() - first, sum / static_cast<double>(p.size() - first));
    first = p.size();
  }
  if (beyond > 0) {
    if (bins.empty() || bins.back().at + 1 != n) {
      p.push_back(0);
      q.push_back(kNothing);
    }
    p.back() += beyond;
    if (p.size() == 1) return std::numeric_limits<double>::infinity();
  }
  const double p_total = std::accumulate(p.begin(), p.end(), 0.0);
  const double q_total = std::accumulate(q.begin(), q.end(), 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double share = p[i] / p_total;
    sum += share * elementary::log(share / (q[i] / q_total));
  }
  return sum;
}

}  // namespace

void Histogram::reach(double magnitude) {
  const double edge = width_ * static_cast<double>(kBins);
  if (magnitude <= edge) return;
  if (width_ == 0) {
    width_ = magnitude / static_cast<double>(kBins);
    return;
  }
  const double factor = std::ceil(magnitude / edge);
  const auto merged = static_cast<std::int64_t>(std::min(factor, static_cast<double>(kBins)));
  std::array<std::int64_t, 2 * kBins> old{};
  std::swap(old, counts_);
  for (std::int64_t i = 0; i < kBins; ++i) {
    counts_[static_cast<std::size_t>(kBins + i / merged)] +=
        old[static_cast<std::size_t>(kBins + i)];
    counts_[static_cast<std::size_t>(kBins - 1 - i / merged)] +=
        old[static_cast<std::size_t>(kBins - 1 - i)];
  }
  width_ *= factor;
}

void Histogram::add(std::span<const real> x) {
  require_finite(x);
  if (x.empty()) return;
  const MinMax seen = min_max(x);
  extremes_ = {.lo = std::min(extremes_.lo, seen.lo), .hi = std::max(extremes_.hi, seen.hi)};
  reach(std::max(-static_cast<double>(seen.lo), static_cast<double>(seen.hi)));
  count_ += std::ssize(x);
  const double per_bin = width_ > 0 ? 1 / width_ : 0;
  std::mutex adding;
  parallel_for(quotient_up(std::ssize(x), kTile), [&](std::int64_t tile) {
    std::array<std::int32_t, 2 * kBins> counts{};
    const auto begin = static_cast<std::size_t>(tile * kTile);
    for (const real v : x.subspan(begin, std::min<std::size_t>(kTile, x.size() - begin))) {
      const double outwards = std::fabs(static_cast<double>(v)) * per_bin;
      const auto bin = std::min(static_cast<std::int64_t>(outwards), kBins - 1);
      ++counts[static_cast<std::size_t>(v < 0 ? kBins - 1 - bin : kBins + bin)];
    }
    const std::lock_guard lock(adding);
    for (std::size_t i = 0; i < counts.size(); ++i) counts_[i] += counts[i];
  });
}

MinMax percentile_range(const Histogram& h, const ActivationSpec& spec) {
  if (h.width() == 0) return {};
  const double n = static_cast<double>(h.count()), outside = 1 - spec.percentile / 100;
  if (spec.symmetric) {
    const std::vector<double> counts = magnitudes(h);
    const auto of = [&](std::int64_t i) { return counts[static_cast<std::size_t>(i)]; };
    return cut(h.extremes(), quantile(of, n * (1 - outside), h.width()));
  }
  // From 0 outwards on each side: what lies beyond an end is half of the share outside.
  const auto end = [&](const auto& of) {
    double side = 0;
    for (std::int64_t i = 0; i < kBins; ++i) side += of(i);
    const double inside = side - n * outside / 2;
    return inside > 0 ? quantile(of, inside, h.width()) : 0.0;
  };
  const double hi = end([&](std::int64_t i) { return static_cast<double>(h.at(i)); });
  const double lo = -end([&](std::int64_t i) { return static_cast<double>(h.at(-1 - i)); });
  const MinMax seen = h.extremes();
  return {.lo = std::max(seen.lo, static_cast<real>(lo)),
          .hi = std::min(seen.hi, static_cast<real>(hi))};
}

MinMax mse_range(const Histogram& h, const ActivationSpec& spec) {
  constexpr int kRatios = 100;
  const MinMax seen = h.extremes();
  const Spec unit = unit_spec(spec);
  const Grid grid = grid_of(unit);
  const auto ratio_of = [](int k) { return static_cast<real>(k) / static_cast<real>(kRatios); };
  double least = std::numeric_limits<double>::infinity();
  int best = kRatios;
  for (int k = kRatios; k > 0; --k) {
    const UnitScale at = scale_range(seen, unit, ratio_of(k));
    const real lo = static_cast<real>(grid.qmin - at.zero_point);
    const real hi = static_cast<real>(grid.qmax - at.zero_point);
    double error = 0;
    for (std::int64_t i = -kBins; i < kBins; ++i) {
      if (h.at(i) == 0) continue;
      const double centre = h.width() * (static_cast<double>(i) + 0.5);
      const real steps = round_clamped(static_cast<real>(centre) / at.scale, lo, hi);
      const double e = centre - static_cast<double>(steps * at.scale);
      error += static_cast<double>(h.at(i)) * e * e;
    }
    if (error < least) {
      least = error;
      best = k;
    }
  }
  return {.lo = seen.lo * ratio_of(best), .hi = seen.hi * ratio_of(best)};
}

MinMax entropy_range(const Histogram& h, const ActivationSpec& spec) {
  if (h.width() == 0) return {};
  const std::vector<double> counts = magnitudes(h);
  std::vector<Bin> bins;
  std::vector<std::size_t> occupied{0};  // among the first so many bins
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) bins.push_back({i, counts[i]});
    occupied.push_back(bins.size());
  }
  const auto levels = std::size_t{1} << (spec.bits - 1);
  const std::size_t candidates = counts.size() - levels + 1;
  std::vector<double> divergences(candidates);
  parallel_for(static_cast<std::int64_t>(candidates), [&](std::int64_t c) {
    const std::size_t n = levels + static_cast<std::size_t>(c);
    const auto inside = std::span(bins).first(occupied[n]);
    double beyond = 0;
    for (std::size_t i = inside.size(); i < bins.size(); ++i) beyond += bins[i].count;
    divergences[static_cast<std::size_t>(c)] = divergence(inside, n, levels, beyond);
  });
  std::size_t best = candidates - 1;
  for (std::size_t c = 0; c < candidates; ++c) {
    if (divergences[c] < divergences[best]) best = c;
  }
  return cut(h.extremes(), (static_cast<double>(levels + best) + 0.5) * h.width());
}

Observer::Observer(const ActivationSpec& spec, std::int64_t channels) : spec_(spec) {
  validate(spec, "observer");
  check(channels >= 1 && channels <= std::int64_t{1} << 32, "observer", channels, " channels");
  extremes_.resize(static_cast<std::size_t>(channels));
  if (uses_histogram()) histograms_.resize(extremes_.size());
}

bool Observer::uses_histogram() const {
  return spec_.observer != ObserverRule::minmax && spec_.observer != ObserverRule::moving_average;
}

void Observer::observe(std::span<const real> x) {
  const std::size_t channels = extremes_.size();
  check(x.size() % channels == 0, "observer", x.size(), " values are not rows of ", channels);
  if (x.empty()) return;
  require_finite(x);
  count_ += std::ssize(x);
  if (channels == 1) {
    observe_channel(0, x);
  } else {
    column_.resize(x.size() / channels);
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t r = 0; r < column_.size(); ++r) column_[r] = x[r * channels + c];
      observe_channel(c, column_);
    }
  }
  ++batches_;
}

void Observer::observe_channel(std::size_t channel, std::span<const real> x) {
  if (uses_histogram()) {
    histograms_[channel].add(x);
    return;
  }
  constexpr real kRate = static_cast<real>(0.01);
  const MinMax batch = min_max(x);
  MinMax& seen = extremes_[channel];
  if (spec_.observer == ObserverRule::minmax || batches_ == 0) {
    seen = {.lo = std::min(seen.lo, batch.lo), .hi = std::max(seen.hi, batch.hi)};
  } else {
    seen.lo += kRate * (batch.lo - seen.lo);
    seen.hi += kRate * (batch.hi - seen.hi);
  }
}

MinMax Observer::range(std::int64_t channel) const {
  check(channel >= 0 && channel < std::ssize(extremes_), "observer", "channel ", channel, " of ",
        extremes_.size());
  const auto c = static_cast<std::size_t>(channel);
  switch (spec_.observer) {
    case ObserverRule::minmax:
    case ObserverRule::moving_average:
      break;
    case ObserverRule::percentile:
      return percentile_range(histograms_[c], spec_);
    case ObserverRule::mse:
      return mse_range(histograms_[c], spec_);
    case ObserverRule::entropy:
      return entropy_range(histograms_[c], spec_);
  }
  return extremes_[c];
}

}  // namespace notch::quant
