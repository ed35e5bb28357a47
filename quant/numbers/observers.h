// Observers: from the values that passed a point of the model to the range its integers cover.
//
// One interface for activations (batch after batch of calibration text) and weights (a matrix at
// once), per tensor and per channel. Three of the five rules look at one histogram; no values are
// kept. Ranges include 0 and lie inside the extremes that were seen.
//   minmax          the extremes
//   moving_average  of each batch's extremes: m += 0.01 (x - m), started by the first batch
//                   (PyTorch's averaging_constant)
//   percentile      the share p of all values lies inside; asymmetric: (1 - p)/2 beyond either end
//   mse             the extremes times k/100, k = 100 … 1, with the least squared error of the
//                   histogram's bins at their centres; ties go to the wider range
//   entropy         least KL divergence between the clipped distribution and its quantization
//                   (Migacz, "8-bit inference with TensorRT", GTC 2017), on magnitudes; an
//                   asymmetric range is the extremes cut at that threshold
// Deviations in entropy: a) 2^(bits-1) levels instead of 128; b) the j-th of i bins belongs to
// level floor(j · levels / i), so all levels are equally wide; c) where the quantized distribution
// is 0 and the other is not, it counts as 1e-4 observations (MXNet's smoothing); d) thresholds
// that clip all but one bin are not candidates: any two distributions on one bin are equal.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/base/real.h"
#include "quant/kernels/round.h"
#include "quant/numbers/activation.h"

namespace notch::quant {

/// Counts of values on 2048 equal bins on each side of 0. The first non-zero batch fixes the width;
/// when a value lies beyond, the width grows by the smallest integer factor that reaches it and
/// neighbouring bins are merged, so counts stay exact.
class Histogram {
 public:
  static constexpr std::int64_t kBins = 2048;

  /// Throws Fault::numeric when a value is not finite. Parallel; the result does not depend on it.
  void add(std::span<const real> x);

  std::int64_t count() const { return count_; }
  MinMax extremes() const { return extremes_; }
  double width() const { return width_; }  ///< of a bin; 0 while every value was 0
  /// Values in [i·width, (i+1)·width) for i >= 0; in (i·width, (i+1)·width] for i < 0. Zeros are in
  /// bin 0, values at the outer edge in the outermost bin.
  std::int64_t at(std::int64_t i) const { return counts_[static_cast<std::size_t>(i + kBins)]; }

 private:
  void reach(double magnitude);

  std::array<std::int64_t, 2 * kBins> counts_{};  // bins -kBins … kBins - 1
  std::int64_t count_ = 0;
  MinMax extremes_{};
  double width_ = 0;
};

/// The rules that look at a histogram; `spec` says how many levels there are and whether the range
/// is symmetric. An empty histogram gives {0, 0}.
MinMax percentile_range(const Histogram& h, const ActivationSpec& spec);
MinMax mse_range(const Histogram& h, const ActivationSpec& spec);
MinMax entropy_range(const Histogram& h, const ActivationSpec& spec);

/// Collects values and answers with a range per channel. An observer only moves in observe().
class Observer {
 public:
  /// `channels` ranges for rows of that many values; 1: one range for everything.
  explicit Observer(const ActivationSpec& spec, std::int64_t channels = 1);

  /// One batch x [rows, channels]. Throws Fault::numeric when a value is not finite, usage when x
  /// is not whole rows.
  void observe(std::span<const real> x);

  /// The extremes seen in a channel; before any value {0, 0}.
  MinMax range(std::int64_t channel = 0) const;
  std::int64_t count() const { return count_; }  ///< values seen

 private:
  bool uses_histogram() const;
  void observe_channel(std::size_t channel, std::span<const real> x);

  ActivationSpec spec_;
  std::int64_t count_ = 0, batches_ = 0;
  std::vector<MinMax> extremes_;
  std::vector<Histogram> histograms_;
  std::vector<real> column_;
};

}  // namespace notch::quant
