// Resampling: thousands of tables like the one that was measured, had other seeds been trained and
// other stretches of the text been scored.
//
// Rows of a table share seeds and windows, so each resample draws seeds and windows once for all
// rows: every statistic of the table (a difference, a share, a contrast) is then a function of the
// same resampled mean losses, and what rows have in common cancels.
//
// Source: a two-way bootstrap, since every seed is scored on the same windows (Owen 2007, "The
// pigeonhole bootstrap", arXiv:0712.1111; slightly conservative); windows come in contiguous blocks
// because neighbours depend on each other (circular blocks, Politis and Romano 1992).
// Deviation: of S seeds S - 1 are drawn, with replacement; that makes the variance over few seeds
// unbiased (drawing S makes it (S - 1)/S too small).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace notch::experiments {

/// Summed losses of R rows of every seed, in nats, over the same W windows.
struct WindowLosses {
  std::int64_t rows = 0, windows = 0, seeds = 0;
  std::vector<double> losses{};  ///< [seeds, windows, rows]
  std::vector<double> tokens{};  ///< [windows]: tokens scored in each
};

class Resamples {
 public:
  /// `count` resamples; a pure function of the arguments, whatever the number of threads. Throws
  /// Fault::usage for sizes that do not fit.
  Resamples(const WindowLosses& measured, std::int64_t count, std::uint64_t seed = 1);

  std::int64_t count() const { return count_; }
  std::int64_t seeds() const { return seeds_; }
  std::int64_t blocks() const { return blocks_; }  ///< of windows, in one resample

  /// Mean loss per token of every row, over seeds and windows, as measured.
  std::span<const double> measured() const { return measured_; }
  /// The same in resample r: of drawn seeds on drawn windows.
  std::span<const double> drawn(std::int64_t r) const { return row(drawn_, r); }
  /// Of all seeds on the drawn windows of resample r.
  std::span<const double> all_seeds(std::int64_t r) const { return row(all_seeds_, r); }

 private:
  std::span<const double> row(const std::vector<double>& all, std::int64_t r) const {
    return std::span(all).subspan(static_cast<std::size_t>(r) * measured_.size(), measured_.size());
  }
  std::int64_t count_, seeds_, blocks_ = 0;
  std::vector<double> measured_, drawn_, all_seeds_;
};

/// Windows per block: ⌊W^(1/3)⌋, the rate at which the error of a block bootstrap's variance is
/// least (Künsch 1989).
std::int64_t block_length(std::int64_t windows);

}  // namespace notch::experiments
