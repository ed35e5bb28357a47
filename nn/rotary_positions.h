// The angles by which a model's heads are turned, and how far-reaching models scale them.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "autograd/param.h"

namespace notch::nn {

/// How Llama 3.1 turns slow pairs of channels slower still, to reach beyond the context it began
/// with: rope_type "llama3" of transformers (modeling_rope_utils.py). A pair turns once in w positions;
/// its angles are divided by
///   1                           w <= original_context / high_freq_factor
///   factor                      w >= original_context / low_freq_factor
///   1 / (s + (1 - s) / factor)  between, s = (original_context/w - low) / (high - low)
struct RopeScaling {
  double factor = 1;  ///< 1: nothing is scaled
  double low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_context = 8192;

  bool operator==(const RopeScaling&) const = default;
};

/// The HS/2 divisors, in double. None where nothing is scaled. Usage error unless factor >= 1 and
/// 0 < low_freq_factor < high_freq_factor are finite and the context is positive.
std::vector<double> rope_divisors(const RopeScaling& scaling, std::int64_t HS, double theta);

/// Sines and cosines of positions: kernels::rotary_table [.., HS], made as far as they are used. A file
/// may claim a context of a million: what only looks at shapes pays nothing, a short text for itself.
class RotaryPositions {
 public:
  RotaryPositions(std::int64_t positions, std::int64_t HS, double theta,
                  const RopeScaling& scaling = {});
  /// Angles of at least the first `used` positions, and no more than there are. A table stays when
  /// a longer one is made, in steps of two, as a tape may still read it.
  const Tensor& table(std::int64_t used) const;

 private:
  struct Table {
    FlatBlock values{};
    Tensor tensor{};
  };
  std::int64_t positions_, HS_;
  double theta_;
  std::vector<double> divisors_;
  mutable std::mutex mutex_;
  mutable std::deque<Table> tables_;  // each longer than the one before
};

}  // namespace notch::nn
