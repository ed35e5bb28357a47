// TrainingPhase: a training phase in motion, everything a step touches, allocated once.
//
// Separate from the loop (trainer.h) because the bench drives single steps of several phases in
// turn.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "autograd/base/clock.h"
#include "experiments/train/trainer.h"
#include "nn/checkpoint.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/optimizer.h"

namespace notch::experiments {

class TrainingPhase {
 public:
  TrainingPhase(const TrainSettings& settings, const TrainParts& parts);

  std::int64_t steps() const { return s_.last_step() - s_.first_step; }
  std::int64_t done() const { return optimizer_->steps(); }
  double seconds() const;  ///< over all sessions of a resumed phase
  double loss() const { return loss_; }
  const std::string& build() const { return build_; }
  std::optional<optim::Ema>& ema() { return ema_; }

  /// One update; the state is unchanged when it throws.
  UpdateReport step();

  /// What the additions have to say, {key: value, …}, with the gradients of a quarter of the last
  /// step's first batch; null for nothing. Changes nothing that a later step sees.
  Json remarks();

  void save();
  /// Whether a checkpoint was there. A damaged one is passed over for the one before it.
  bool resume(const TrainListener& listener);

 private:
  std::uint64_t key(std::int64_t step, std::int64_t micro) const;
  double run(std::int64_t step, Graph& graph);
  std::optional<Teacher> teach(const nn::Tokens& tokens);
  [[noreturn]] void explain(std::int64_t step, const optim::GradNorm& norm);
  std::vector<nn::CheckpointPart> files();

  TrainSettings s_;
  TrainParts parts_;
  data::BatchSpec batch_;
  std::vector<std::int32_t> inputs_, targets_;
  Graph graph_, teacher_graph_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::optional<optim::Ema> ema_;
  double start_ = seconds_now();
  double seconds_before_ = 0, loss_ = 0;
  std::string build_;
};

}  // namespace notch::experiments
