#include "quant/numbers/learned_levels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "autograd/base/error.h"
#include "autograd/base/index.h"

namespace notch::quant {
namespace {

/// Sums over the numbers before each possible end of an interval.
class Intervals {
 public:
  Intervals(std::span<const double> x, std::span<const double> weights) {
    const std::size_t n = x.size(), ends = std::min(n, kMostEnds);
    double weight = 0, sum = 0, squares = 0;
    std::size_t done = 0;
    for (std::size_t e = 0; e <= ends; ++e) {
      const std::size_t end = ends == 0 ? 0 : n * e / ends;
      for (; done < end; ++done) {
        const double by = weights.empty() ? 1 : weights[done];
        weight += by;
        sum += by * x[done];
        squares += by * x[done] * x[done];
      }
      all_.push_back({.weight = weight, .sum = sum, .squares = squares, .end = end});
    }
    x_ = x;
  }

  Index ends() const { return std::ssize(all_) - 1; }

  /// The error of the numbers from end i to end j at their mean.
  double cost(Index i, Index j) const {
    const double weight = all_[at(j)].weight - all_[at(i)].weight;
    if (weight <= 0) return 0;
    const double sum = all_[at(j)].sum - all_[at(i)].sum;
    return std::max(0.0, all_[at(j)].squares - all_[at(i)].squares - sum * sum / weight);
  }

  /// Their mean, inside of them; the middle where they have no weight. NaN of no numbers.
  double mean(Index i, Index j) const {
    const std::size_t first = all_[at(i)].end, end = all_[at(j)].end;
    if (first == end) return std::numeric_limits<double>::quiet_NaN();
    const double weight = all_[at(j)].weight - all_[at(i)].weight;
    const double lowest = x_[first], highest = x_[end - 1];
    if (weight <= 0) return (lowest + highest) / 2;
    return std::clamp((all_[at(j)].sum - all_[at(i)].sum) / weight, lowest, highest);
  }

 private:
  struct Before {
    double weight = 0, sum = 0, squares = 0;
    std::size_t end = 0;
  };
  std::vector<Before> all_;
  std::span<const double> x_{};
};

}  // namespace

std::vector<double> best_levels(std::span<const double> x, std::span<const double> weights,
                                int count) {
  check(count >= 1 && count <= 256 && (weights.empty() || weights.size() == x.size()),
        "learned levels", "got ", count, " levels and ", weights.size(), " weights for ", x.size(),
        " numbers");
  const Intervals intervals(x, weights);
  const Index ends = intervals.ends();
  // least[j]: of the numbers before end j in as many intervals as levels so far; begins[c][j]: where the
  // last of them begins.
  std::vector<double> least(at(ends + 1)), longer(least.size());
  for (Index j = 0; j <= ends; ++j) least[at(j)] = intervals.cost(0, j);
  std::vector<std::vector<std::int32_t>> begins(at(count), std::vector<std::int32_t>(least.size()));
  for (int c = 1; c < count; ++c) {
    std::vector<std::int32_t>& begin = begins[at(c)];
    // Ends from `first` to `last`, whose intervals begin between `low` and `high`: the middle one, and
    // then both halves.
    const auto fill = [&](const auto& self, Index first, Index last, Index low, Index high) -> void {
      if (first > last) return;
      const Index middle = (first + last) / 2;
      double best = std::numeric_limits<double>::infinity();
      Index chosen = low;
      for (Index i = low; i <= std::min(middle, high); ++i) {
        const double error = least[at(i)] + intervals.cost(i, middle);
        if (error < best) best = error, chosen = i;
      }
      longer[at(middle)] = best;
      begin[at(middle)] = static_cast<std::int32_t>(chosen);
      self(self, first, middle - 1, low, chosen);
      self(self, middle + 1, last, chosen, high);
    };
    fill(fill, 0, ends, 0, ends);
    std::swap(least, longer);
  }
  std::vector<double> levels(at(count));
  Index end = ends;
  for (int c = count - 1; c >= 0; --c) {
    const Index begin = begins[at(c)][at(end)];
    levels[at(c)] = intervals.mean(begin, end);
    end = begin;
  }
  // Intervals without a number get the level before them, or after them.
  for (int c = 1; c < count; ++c) {
    if (std::isnan(levels[at(c)])) levels[at(c)] = levels[at(c - 1)];
  }
  for (int c = count - 2; c >= 0; --c) {
    if (std::isnan(levels[at(c)])) levels[at(c)] = levels[at(c + 1)];
  }
  for (double& level : levels) level = std::isnan(level) ? 0 : level;
  return levels;
}

}  // namespace notch::quant
