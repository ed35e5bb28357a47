// metrics.jsonl: one JSON object per line, in the order of time, flushed line by line.
//
// Every line has "run" (which training: "seed-1337/fp32") and "step". After a crash the last line
// may be half-written, and lines may be newer than the checkpoint that is resumed: both are cut
// off, so that the resumed run writes the same file as one that was never interrupted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "autograd/base/json.h"

namespace notch::experiments {

class Metrics {
 public:
  explicit Metrics(std::filesystem::path file) : file_(std::move(file)) {}

  /// Appends {"run": run, "step": step, ...fields}. Throws Fault::io.
  void append(std::string_view run, std::int64_t step, const Json& fields) const;

  /// Cuts the file before the first line that is not complete and valid, and before the first line
  /// of `run` with a step above `step`. What follows such a line is younger still, so it goes too.
  /// A file that does not exist stays absent.
  void resume(std::string_view run, std::int64_t step) const;

 private:
  std::filesystem::path file_;
};

}  // namespace notch::experiments
