// Run time: how much of a whole run is left while one of its rows is being made.
//
// What a row takes is known best from another of the same method, whatever its width and seed.
// Before there is one, it is guessed from its training steps at the pace of fp32's.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/run/results.h"
#include "experiments/show/progress.h"

namespace notch::experiments {

struct ExperimentConfig;

class RunTime {
 public:
  /// All rows of all seeds.
  explicit RunTime(const ExperimentConfig& config);

  /// What is left after the row that is begun now.
  RunLeft begin(std::string_view row);
  /// It took so long; or was found done, and had taken so long.
  void end(std::string_view row, double seconds);

 private:
  struct Kind {
    double steps = 0;  ///< of fp32's length that making one takes, guessed
    double seconds = 0;
    int made = 0, left = 0;
  };
  Kind& kind(std::string_view row) { return kinds_.at(kind_of_.at(std::string(row))); }

  std::map<std::string, std::string, std::less<>> kind_of_{};  ///< of a row, by its name
  std::map<std::string, Kind> kinds_{};
  int row_ = 0, rows_ = 0;
};

}  // namespace notch::experiments
