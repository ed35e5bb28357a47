#include "quant/methods/allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/error.h"

namespace notch::quant {
namespace {

using Layers = std::span<const std::vector<Choice>>;

constexpr std::int64_t kMostBytes = std::int64_t{1} << 60;

/// A sum over the first layers that no smaller sum beats.
struct State {
  std::int64_t bytes = 0;
  double cost = 0;
  std::size_t choice = 0;  ///< of the last layer
  std::size_t before = 0;  ///< the state of the layers before it
};

/// For each number of layers its states, by rising bytes and falling cost.
std::vector<std::vector<State>> frontiers(Layers layers) {
  std::vector<std::vector<State>> all{{State{}}};
  for (const std::vector<Choice>& choices : layers) {
    check(!choices.empty(), "allocation", "a layer has no choices");
    std::vector<State> next;
    for (std::size_t s = 0; s < all.back().size(); ++s) {
      for (std::size_t c = 0; c < choices.size(); ++c) {
        check(std::isfinite(choices[c].cost), "allocation", "a cost is not finite");
        check(choices[c].bytes >= 0 && choices[c].bytes <= kMostBytes - all.back()[s].bytes,
              "allocation", choices[c].bytes, " bytes are no size of a layer");
        next.push_back({.bytes = all.back()[s].bytes + choices[c].bytes,
                        .cost = all.back()[s].cost + choices[c].cost,
                        .choice = c,
                        .before = s});
      }
    }
    std::ranges::stable_sort(next, [](const State& a, const State& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
    });
    std::vector<State> kept;
    for (const State& s : next) {
      if (kept.empty() || s.cost < kept.back().cost) kept.push_back(s);
    }
    all.push_back(std::move(kept));
  }
  return all;
}

std::vector<std::size_t> traced(const std::vector<std::vector<State>>& all, std::size_t state) {
  std::vector<std::size_t> choices(all.size() - 1);
  for (std::size_t l = choices.size(); l-- > 0;) {
    choices[l] = all[l + 1][state].choice;
    state = all[l + 1][state].before;
  }
  return choices;
}

[[noreturn]] void refuse_bytes(std::int64_t bytes, std::int64_t least) {
  throw Error({.where = "mixed precision",
               .what = "the layers do not fit into so few bytes",
               .found = str(bytes),
               .expected = str("at least ", least, ", each at its smallest width"),
               .hint = "allow more bytes, or add a smaller width"});
}

/// Ranks from 1, ties share their mean.
std::vector<double> ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> out(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    for (std::size_t k = first; k < last; ++k)
      out[order[k]] = static_cast<double>(first + last + 1) / 2;
    first = last;
  }
  return out;
}

}  // namespace

std::vector<std::size_t> least_cost(Layers layers, std::int64_t bytes) {
  const auto all = frontiers(layers);
  const auto fits = [&](const State& s) { return s.bytes <= bytes; };
  const auto end = std::ranges::find_if_not(all.back(), fits);
  if (end == all.back().begin()) refuse_bytes(bytes, end->bytes);
  return traced(all, static_cast<std::size_t>(end - all.back().begin()) - 1);
}

std::vector<std::size_t> least_bytes(Layers layers, double cost) {
  const auto all = frontiers(layers);
  const auto found = std::ranges::find_if(all.back(), [&](const State& s) { return s.cost <= cost; });
  if (found == all.back().end()) {
    throw Error({.where = "mixed precision",
                 .what = "no choice of widths raises the loss by so little",
                 .found = str(cost),
                 .expected = str("at least ", all.back().back().cost),
                 .hint = "allow more, or add a larger width"});
  }
  return traced(all, static_cast<std::size_t>(found - all.back().begin()));
}

MeasuredChoice least_bytes(Layers layers, double cost,
                           const std::function<double(const std::vector<std::size_t>&)>& measure) {
  constexpr int kHalvings = kMostMeasured - 2;
  double best = 0, least = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> largest;
  for (const std::vector<Choice>& choices : layers) {
    best += std::ranges::min(choices, {}, &Choice::cost).cost;
    largest.push_back(static_cast<std::size_t>(
        std::ranges::max_element(choices, {}, &Choice::bytes) - choices.begin()));
  }
  MeasuredChoice out;
  const auto holds = [&](std::vector<std::size_t> choices) {
    const double measured = measure(choices);
    check(std::isfinite(measured), "allocation", "a measured cost is not finite");
    ++out.measured;
    least = std::min(least, measured);
    if (measured > cost) return false;
    out.choices = std::move(choices);
    out.cost = measured;
    return true;
  };
  // Estimates whose choices are known to hold and to fail.
  double held = best, failed = std::max(cost, best);
  std::vector<std::size_t> failing = least_bytes(layers, failed);
  if (holds(failing)) return out;
  const std::vector<std::size_t> lowest = least_bytes(layers, best);
  if (lowest == failing || !holds(lowest)) {
    if (largest != lowest && holds(largest)) return out;
    throw Error({.where = "mixed precision",
                 .what =
                     "the loss rises by more, both at the widths that were foretold best and with "
                     "every layer at its largest",
                 .found = str(cost),
                 .expected = str("at least ", least, ", as measured"),
                 .hint = "allow more, or add a larger width"});
  }
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (held + failed) / 2;
    std::vector<std::size_t> next = least_bytes(layers, middle);
    if (next == out.choices || (next != failing && holds(next))) {
      held = middle;
    } else {
      failed = middle;
      failing = std::move(next);
    }
  }
  return out;
}

std::vector<std::size_t> by_threshold(Layers layers, std::int64_t bytes) {
  std::vector<std::size_t> order(layers.size()), best;
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const std::vector<Choice>& l : layers)
    check(!l.empty() && std::ranges::all_of(l,
                                            [](const Choice& c) {
                                              return std::isfinite(c.cost) && c.bytes >= 0 &&
                                                     c.bytes <= kMostBytes;
                                            }),
          "by_threshold", "a layer has no choices, or one whose cost or bytes are none");
  std::ranges::stable_sort(order, std::greater{}, [&](std::size_t l) { return layers[l][0].cost; });
  double least = std::numeric_limits<double>::infinity();
  const std::size_t widths = layers.empty() ? 0 : layers[0].size();
  std::int64_t smallest = 0;
  for (const std::vector<Choice>& l : layers) {
    check(l.size() == widths, "by_threshold", "layers have ", l.size(), " and ", widths, " choices");
    smallest += l[0].bytes;
  }
  for (std::size_t low = 0; low < widths; ++low) {
    for (std::size_t high = low; high < widths; ++high) {
      std::vector<std::size_t> choices(layers.size(), low);
      std::int64_t used = 0;
      double cost = 0;
      for (const std::vector<Choice>& l : layers) used += l[low].bytes;
      if (used > bytes) continue;
      for (const std::size_t l : order) {
        const std::int64_t more = layers[l][high].bytes - layers[l][low].bytes;
        if (used + more > bytes) break;
        used += more;
        choices[l] = high;
      }
      for (std::size_t l = 0; l < layers.size(); ++l) cost += layers[l][choices[l]].cost;
      if (cost >= least) continue;
      least = cost;
      best = std::move(choices);
    }
  }
  if (best.empty() && !layers.empty()) refuse_bytes(bytes, smallest);
  return best;
}

double rank_correlation(std::span<const double> a, std::span<const double> b) {
  check(a.size() == b.size(), "rank_correlation", a.size(), " and ", b.size(), " values");
  for (const std::span<const double> side : {a, b})
    check(std::ranges::none_of(side, [](double v) { return std::isnan(v); }), "rank_correlation",
          "a NaN has no rank");
  const std::vector<double> x = ranks(a), y = ranks(b);
  const double mean = static_cast<double>(x.size() + 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xy / std::sqrt(xx * yy);
}

}  // namespace notch::quant
