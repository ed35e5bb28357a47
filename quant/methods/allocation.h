// Allocation: which width each layer gets when all together may have so many bytes, or may cost so much.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace notch::quant {

/// One way to store a layer.
struct Choice {
  std::int64_t bytes = 0;
  double cost = 0;  ///< what it adds to the loss; may be below zero
};

/// The index of a choice for each layer: the least Σ cost with Σ bytes <= `bytes`, exactly, by dynamic
/// programming over the layers that keeps every sum of bytes with less cost than all smaller sums. Of
/// equal costs the fewer bytes, then the earlier choice of the later layers. Usage error naming the
/// least possible bytes when nothing fits; `check` error for a cost that is not finite.
std::vector<std::size_t> least_cost(std::span<const std::vector<Choice>> layers,
                                    std::int64_t bytes);

/// The same with the sides exchanged: the least Σ bytes with Σ cost <= `cost`; of equal bytes the
/// lower cost.
std::vector<std::size_t> least_bytes(std::span<const std::vector<Choice>> layers, double cost);

/// What least_bytes measures at most.
inline constexpr int kMostMeasured = 8;

struct MeasuredChoice {
  std::vector<std::size_t> choices{};
  double cost = 0;   ///< as measured
  int measured = 0;  ///< so many choices were
};
/// The same where the costs are estimates that do not quite add up, by `measure`, which tells what a choice
/// costs: the estimate that is allowed goes from `cost` down, halfway to the least there is and so on six
/// times, and the fewest bytes of all that hold are taken. One estimated too high is not found. Usage error
/// when neither the choice of least estimate nor that of most bytes holds.
MeasuredChoice least_bytes(std::span<const std::vector<Choice>> layers, double cost,
                           const std::function<double(const std::vector<std::size_t>&)>& measure);

/// What textbooks do, for comparison: two widths, and the layers whose first choice costs most get the
/// larger one, from the most sensitive down, until the next one no longer fits. Of all pairs of choices
/// (low, high) the pair with the lowest sum of costs. Every layer has the same number of choices, in
/// order of bytes; usage error as least_cost's.
std::vector<std::size_t> by_threshold(std::span<const std::vector<Choice>> layers,
                                      std::int64_t bytes);

/// Spearman's rank correlation (Pearson's of the ranks, ties share their mean); NaN where a side does not
/// vary.
double rank_correlation(std::span<const double> a, std::span<const double> b);

}  // namespace notch::quant
