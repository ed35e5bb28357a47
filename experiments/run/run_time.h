// Run time: how much of a whole run is left while one of its rows is being made.
//
// A run's parts are counted in tokens that go forward through the model: training takes three times
// as much for a token, and so does a method that refines its codes by updates; a row is scored on
// tokens that are known beforehand. What a token takes is measured from the first training steps on;
// what a row takes is known best from another of the same method, whatever its width and seed.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/run/results.h"
#include "experiments/run/shard.h"
#include "experiments/show/progress.h"

namespace notch::experiments {

struct Data;
struct ExperimentConfig;

/// Tokens that a run reads besides training.
struct ReadTokens {
  double scored = 0;       ///< of the split that the table is scored on
  double task = 0;         ///< of its questions with their labels
  double validation = 0;   ///< each time that training looks at the validation split
  double calibration = 0;  ///< of a row that calibrates
  double train = 0;        ///< of the training split, whose first windows weigh layers; 0: enough
};
ReadTokens read_tokens(const ExperimentConfig& config, const Data& data);

class RunTime {
 public:
  /// The rows of a part of a run, of all its seeds.
  RunTime(const ExperimentConfig& config, const ReadTokens& reads, const Shard& shard = {});

  /// It lies there, to be found done when its turn comes, and takes no time.
  void there(std::int64_t seed, std::string_view row);
  /// What is left after the training of the row that is begun now; its scoring included.
  RunLeft begin(std::int64_t seed, std::string_view row);
  /// It took so long, scoring included, over all sessions.
  void end(std::string_view row, double seconds);
  /// It was found done, and had taken so long without its scoring.
  void found(std::int64_t seed, std::string_view row, double seconds);

 private:
  struct Kind {
    double work = 0;   ///< tokens forward that making and scoring one takes
    double score = 0;  ///< of it, scoring
    double seconds = 0,
           found_seconds = 0;  ///< with scoring of those made, without it of those found
    int made = 0, found = 0, left = 0;
  };
  Kind& kind(std::string_view row);  ///< usage error for a row that the run has not

  std::map<std::string, std::string, std::less<>> kind_of_{};  ///< of a row, by its name
  std::map<std::string, Kind> kinds_{};
  std::set<std::pair<std::int64_t, std::string>> there_{};
  double step_work_ = 1;                       ///< of a step of fp32
  double study_ = 0;                           ///< of the first seed's matrices, after its fp32
  double spent_seconds_ = 0, spent_work_ = 0;  ///< by what was made or found
  int row_ = 0, rows_ = 0;
};

}  // namespace notch::experiments
