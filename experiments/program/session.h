// Session: what `run` and `train` open before anything is trained: configuration, data, run
// directory.
#pragma once

#include <memory>
#include <optional>

#include "experiments/program/args.h"
#include "experiments/run/compare.h"

namespace notch::experiments {

class Session {
 public:
  /// Reads and checks the configuration and the data, then opens the run directory (--out,
  /// --resume, --force) and says what will happen on stderr. Nothing is written before all checks
  /// have passed, nor when a stop was requested until then.
  explicit Session(const Args& args);
  bool begun() const { return dir_.has_value(); }
  /// The part of the run that is made: --shard.
  const Shard& shard() const { return shard_; }

  const ExperimentConfig& config() const { return config_; }
  const Data& data() const { return data_; }
  const RunDir& dir() const { return *dir_; }
  RunContext context() { return {config_, data_, *dir_, progress_, profile_, &*time_, shard_}; }

 private:
  void announce(const Args& args, const LoadedConfig& loaded) const;

  ExperimentConfig config_;
  Data data_;
  std::optional<RunDir> dir_;
  Progress progress_;
  bool profile_ = false;
  Shard shard_{};
  std::optional<RunTime> time_;
};

/// How many tokens a text that is not read counts as: a character tokenizer's follow from it.
int vocabulary_before_text(const ExperimentConfig& config);

}  // namespace notch::experiments
