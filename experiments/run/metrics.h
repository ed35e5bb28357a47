// metrics.jsonl: one JSON object per line, in the order of time, flushed line by line.
//
// Every line has "run" (which training: "seed-1337/fp32") and "step". After a crash the last line
// may be half-written, and lines may be newer than the checkpoint that is resumed: both are taken
// out, so that the resumed run writes the same file as one that was never interrupted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "quant/methods/quantized.h"

namespace notch::experiments {

inline constexpr const char* kMetricsFile = "metrics.jsonl";

/// A line as a run writes it.
struct MetricsLine {
  std::string_view text{};  ///< as it stands in the file
  std::string run{};
  std::int64_t step = 0;
  Json fields{};  ///< the whole line; what is read for a picture has been checked:
                  ///< loss and val_loss are numbers or null, quantizer is lists by name, with an
                  ///< entry per layer: null, a number, a name, or a histogram of numbers
};

/// Hands on the lines of metrics.jsonl in their order, up to the first that is none of a run's.
/// (One that was killed may have left half a line; what follows it is younger still.)
void read_metrics(std::string_view text, const std::function<void(const MetricsLine&)>& take);

class Metrics {
 public:
  explicit Metrics(std::filesystem::path file) : file_(std::move(file)) {}

  /// Appends {"run": run, "step": step, ...fields}. Throws Fault::io.
  void append(std::string_view run, std::int64_t step, const Json& fields) const;

  /// What rounding measured of layers, a line each, in place of what was told of `run` before; layers
  /// without measures are left out.
  void tell_layers(std::string_view run, const std::vector<quant::LayerReport>& layers) const;

  /// Takes out the lines of `run` with a step above `step`, and those that read_metrics would not take,
  /// half of a last one too. Those of other trainings stay: a row may be made again where younger ones
  /// are finished. A file that does not exist stays absent. Whether a line of `run` is left.
  bool resume(std::string_view run, std::int64_t step) const;

 private:
  std::filesystem::path file_;
};

}  // namespace notch::experiments
