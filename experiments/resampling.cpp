#include "experiments/resampling.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/rng.h"
#include "autograd/base/thread_pool.h"

namespace notch::experiments {
namespace {

/// The sum over `length` windows from every start, round the end; [starts, width].
std::vector<double> block_sums(std::span<const double> values, std::size_t windows,
                               std::size_t width, std::size_t length) {
  std::vector<double> sums(values.size(), 0);
  for (std::size_t start = 0; start < windows; ++start) {
    for (std::size_t k = 0; k < length; ++k) {
      const std::size_t at = (start + k) % windows;
      for (std::size_t i = 0; i < width; ++i) sums[start * width + i] += values[at * width + i];
    }
  }
  return sums;
}

}  // namespace

std::int64_t block_length(std::int64_t windows) {
  std::int64_t length = 1;
  while ((length + 1) * (length + 1) * (length + 1) <= windows) ++length;
  return length;
}

Resamples::Resamples(const WindowLosses& m, std::int64_t count, std::uint64_t seed)
    : count_(count), seeds_(m.seeds) {
  check(m.rows > 0 && m.windows > 0 && m.seeds > 0 && count > 0 &&
            std::ssize(m.losses) == m.rows * m.windows * m.seeds &&
            std::ssize(m.tokens) == m.windows,
        "resampling", m.losses.size(), " losses and ", m.tokens.size(), " windows for ", m.seeds,
        " seeds of ", m.windows, " windows and ", m.rows, " rows");
  const auto R = static_cast<std::size_t>(m.rows), W = static_cast<std::size_t>(m.windows),
             S = static_cast<std::size_t>(m.seeds);
  const std::int64_t length = block_length(m.windows);
  blocks_ = (m.windows + length - 1) / length;
  const auto L = static_cast<std::size_t>(length);

  std::vector<std::vector<double>> losses;  // per seed: [start, row]
  measured_.assign(R, 0);
  double all_tokens = 0;
  for (const double n : m.tokens) all_tokens += n;
  for (std::size_t s = 0; s < S; ++s) {
    const auto of_seed = std::span(m.losses).subspan(s * W * R, W * R);
    losses.push_back(block_sums(of_seed, W, R, L));
    std::vector<double> sums(R, 0);
    for (std::size_t w = 0; w < W; ++w) {
      for (std::size_t i = 0; i < R; ++i) sums[i] += of_seed[w * R + i];
    }
    for (std::size_t i = 0; i < R; ++i) {
      measured_[i] += sums[i] / all_tokens / static_cast<double>(S);
    }
  }
  const std::vector<double> tokens = block_sums(m.tokens, W, 1, L);

  drawn_.assign(static_cast<std::size_t>(count) * R, 0);
  all_seeds_.assign(drawn_.size(), 0);
  constexpr std::int64_t kPerTile = 64;
  parallel_for((count + kPerTile - 1) / kPerTile, [&](std::int64_t tile) {
    std::vector<std::size_t> starts(static_cast<std::size_t>(blocks_));
    std::vector<double> sums(R), weights(S);
    for (std::int64_t r = tile * kPerTile; r < std::min(count, (tile + 1) * kPerTile); ++r) {
      Rng rng(seed, static_cast<std::uint64_t>(r));
      double scored = 0;
      for (std::size_t& start : starts) {
        start = static_cast<std::size_t>(rng.below(W));
        scored += tokens[start];
      }
      std::ranges::fill(weights, 0);
      const std::size_t draws = std::max<std::size_t>(1, S - 1);
      for (std::size_t k = 0; k < draws; ++k) {
        weights[static_cast<std::size_t>(rng.below(S))] += 1 / static_cast<double>(draws);
      }
      double* const drawn = drawn_.data() + static_cast<std::size_t>(r) * R;
      double* const all = all_seeds_.data() + static_cast<std::size_t>(r) * R;
      for (std::size_t s = 0; s < S; ++s) {
        std::ranges::fill(sums, 0);
        for (const std::size_t start : starts) {
          const double* const block = losses[s].data() + start * R;
          for (std::size_t i = 0; i < R; ++i) sums[i] += block[i];
        }
        for (std::size_t i = 0; i < R; ++i) {
          drawn[i] += weights[s] * sums[i] / scored;
          all[i] += sums[i] / scored / static_cast<double>(S);
        }
      }
    }
  });
}

}  // namespace notch::experiments
