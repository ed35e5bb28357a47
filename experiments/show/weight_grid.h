// Weight grid: a histogram of weights with the values of a grid over it, and the noise of rounding
// beside it; with script one moves the width and picks the weights.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace notch::experiments {

struct WeightHistogram {
  std::string name{};
  /// Shares of the weights in equal bins of [-1, 1], the range of a symmetric grid.
  std::vector<double> shares{};
  /// Signal to rounding noise at 2, 3, … bits, dB.
  std::vector<double> sqnr_db{};
};

/// A <figure id="weights"> of the first histogram at so many bits. The grid is narrow: 2^bits - 1
/// values, evenly spread over [-1, 1]. Throws Fault::usage without histograms, or for bits that have
/// no sqnr_db.
std::string weight_grid(const std::vector<WeightHistogram>& all, int bits);

/// JavaScript that gives the figure a slider of widths and a choice of histograms. Without < and &.
extern const std::string_view kWeightGridScript;

}  // namespace notch::experiments
