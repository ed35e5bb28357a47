#include "experiments/run/window_error.h"

#include <limits>
#include <numeric>
#include <vector>

#include "autograd/base/error.h"

namespace notch::experiments {

std::int64_t block_length(std::int64_t windows) {
  std::int64_t length = 1;
  // By division: the cube of the largest would not fit.
  while ((length + 1) * (length + 1) <= windows / (length + 1)) ++length;
  return length;
}

ErrorPart window_error(std::span<const double> sums, std::span<const double> tokens) {
  const std::size_t W = sums.size();
  check(W > 0 && tokens.size() == W, "window error", W, " sums for ", tokens.size(), " windows");
  if (W < 2) return {.variance = std::numeric_limits<double>::infinity()};
  const double all_tokens = std::accumulate(tokens.begin(), tokens.end(), 0.0);
  check(all_tokens > 0, "window error", "windows of ", all_tokens, " tokens");
  const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / all_tokens;
  const auto L = static_cast<std::size_t>(block_length(static_cast<std::int64_t>(W)));
  double squares = 0;
  for (std::size_t start = 0; start < W; ++start) {
    double residual = 0;
    for (std::size_t k = 0; k < L; ++k) {
      const std::size_t w = (start + k) % W;
      residual += sums[w] - mean * tokens[w];
    }
    squares += residual * residual;
  }
  const double blocks = static_cast<double>(W) / static_cast<double>(L);
  // The blocks' own mean has been taken from them: (K - 1)/K of their variance is left.
  return {.variance =
              squares / (static_cast<double>(L) * all_tokens * all_tokens) * blocks / (blocks - 1),
          .df = blocks - 1};
}

}  // namespace notch::experiments
