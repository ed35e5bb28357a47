// Roofs: how fast this machine can multiply and read, measured, not looked up.
//
// The roofline model (Williams, Waterman, Patterson 2009): a computation of I operations per byte
// runs at most at min(peak, bandwidth · I). Bandwidth depends on the working set (what fits a cache
// is read faster), so it is measured for the bytes in question, with a kernel that only reads.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/param.h"

namespace notch::experiments {

/// Operations per second; a multiplication and an addition are two.
double sgemm_roof();
/// Of the integer products of this processor (u8 · s8 into int32), a large matrix.
double integer_roof();

/// Memory that is only read, by all threads; of the kind that weights lie in.
class ReadRoof {
 public:
  explicit ReadRoof(std::int64_t bytes);
  /// Seconds of one pass over all of it: the best of several kernels, which differ in how far ahead
  /// they ask for what they read.
  double pass();
  std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.size() * sizeof(real)); }

 private:
  FlatBlock memory_;
  std::vector<std::uint64_t> found_;
};

}  // namespace notch::experiments
