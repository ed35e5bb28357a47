#include "quant/methods/magnitude.h"

#include <cmath>

namespace notch::quant {

std::vector<double> magnitudes_of(std::span<const real> w) {
  std::vector<double> scores;
  scores.reserve(w.size());
  for (const real v : w) scores.push_back(std::abs(static_cast<double>(v)));
  return scores;
}

constinit const Pruner kMagnitude{
    .name = "magnitude",
    .source = "Han et al. 2015",
    .in_rounds = true,
    .prune = [](const MatrixView& m, const PruneOptions& options) -> Pruned {
      Keep keep = keep_largest(magnitudes_of(m.w), m.rows(), m.cols(), options, Within::matrix,
                               m.target.name);
      std::vector<real> w = kept_weights(m.w, keep);
      return {.keep = std::move(keep), .w = std::move(w)};
    }};

}  // namespace notch::quant
