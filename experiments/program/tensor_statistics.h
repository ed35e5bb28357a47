// What `notch inspect` says about the numbers in a file: range, mean, and whether they are numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "nn/safetensors.h"

namespace notch::experiments {

/// Over the finite elements; sums in double. All zero for a tensor without any.
struct TensorStatistics {
  double min = 0, max = 0, mean = 0, rms = 0;
  std::int64_t elements = 0, not_finite = 0;
};

class StatisticsSum {
 public:
  void add(double x);
  TensorStatistics result() const;

 private:
  TensorStatistics s_{};
  double sum_ = 0, squares_ = 0;
};

/// Of a tensor in a file, read in pieces; nothing where its type's numbers are not read (complex
/// ones, and floats of 8 bits and fewer).
std::optional<TensorStatistics> statistics(const nn::SafetensorsFile& file,
                                           const nn::TensorEntry& entry);
TensorStatistics statistics(std::span<const real> values);

}  // namespace notch::experiments
