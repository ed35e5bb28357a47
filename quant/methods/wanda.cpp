#include "quant/methods/wanda.h"

#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "quant/methods/gptq.h"

namespace notch::quant {

std::vector<double> wanda_scores(std::span<const real> w, std::int64_t cols,
                                 std::span<const double> H) {
  check(cols > 0 && std::ssize(w) % cols == 0, "wanda", w.size(), " weights in rows of ", cols);
  extent("wanda", {cols, cols});
  const auto K = static_cast<std::size_t>(cols);
  check(H.size() == K * K, "wanda", "the Hessian has ", H.size(), " elements, need ", cols, " x ",
        cols);
  std::vector<double> norms(K), scores(w.size());
  for (std::size_t j = 0; j < K; ++j) norms[j] = std::sqrt(H[j * K + j]);
  for (std::size_t i = 0; i < w.size(); ++i)
    scores[i] = std::abs(static_cast<double>(w[i])) * norms[i % K];
  return scores;
}

constinit const Pruner kWanda{
    .name = "wanda",
    .source = "Sun et al. 2023",
    .needs_inputs = true,
    .prune = [](const MatrixView& m, const PruneOptions& options) -> Pruned {
      check(m.H, m.target.name, "wanda needs the layer's inputs");
      Keep keep = keep_largest(wanda_scores(m.w, m.cols(), m.H->matrix()), m.rows(), m.cols(),
                               options, Within::row, m.target.name);
      std::vector<real> w = kept_weights(m.w, keep);
      return {.keep = std::move(keep), .w = std::move(w)};
    }};

}  // namespace notch::quant
