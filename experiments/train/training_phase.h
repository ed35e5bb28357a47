// TrainingPhase: a training phase of a model in motion, everything that a step touches, allocated once.
//
// The same steps train the fp32 model, the control and every QAT arm; an arm differs in what takes
// part beside the model (nn/addition.h: a fake quantizer, a mask, figures) and in the teacher, not in
// the step. Nothing here knows what quantization is. The loop, with what is written down and drawn
// on the way, is experiments/run/fit.cpp; the bench drives single steps of several phases in turn.
//
// experiments/train/ is a training step and its checkpoints.
// May include: experiments/machine, optim, nn, data, autograd.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/clock.h"
#include "autograd/base/json.h"
#include "data/batches.h"
#include "nn/addition.h"
#include "nn/checkpoint.h"
#include "nn/model.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace notch::experiments {

struct TrainSettings {
  std::string phase{};  ///< "fp32", "qat-lsq-int4": names checkpoints and log lines
  std::string_view rate_key = "train.lr";  ///< what a message blames where numbers overflow
  optim::Schedule schedule{};
  /// The part of the schedule that is trained; data and learning rates are those of its steps. -1:
  /// to the schedule's end.
  std::int64_t first_step = 0, end_step = -1;
  std::int64_t last_step() const { return end_step < 0 ? schedule.steps : end_step; }
  std::int64_t batch_size = 12;
  std::int64_t grad_accum = 1;
  data::Order order = data::Order::random;
  std::uint64_t seed = 0;  ///< of batches and dropout
  bool sgd = false;        ///< else AdamW
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-8;
  double momentum = 0.9;
  double weight_decay = 0.1;
  double clip = 1;
  double ema = 0;  ///< decay of averaged weights; 0: none
  /// Peak learning rate of what additions train (LSQ's log steps); it follows the schedule's shape.
  double step_lr = 1e-3;
  std::int64_t eval_every = 0, checkpoint_every = 0, log_every = 10;  ///< 0: only at the end
  std::int64_t remark_every = 0;  ///< what additions have to say; 0: only at the end
  int keep_last = 2;
  kernels::Precision precision = kernels::Precision::full;  ///< of the products with weights
};

/// What a training step reports.
struct UpdateReport {
  std::int64_t step = 0;  ///< updates made
  double loss = 0, lr = 0, grad_norm = 0;
  std::int64_t tokens = 0;  ///< in this step
};

/// What takes part besides the model.
struct TrainParts {
  nn::Model& model;
  std::span<const std::int32_t> tokens{};
  std::vector<nn::Addition*> additions{};
  bool frozen = false;  ///< the model stays as it is: the additions alone are trained, and kept
  nn::Model* teacher = nullptr;  ///< distil from it
  double temperature = 1, alpha = 1, reverse = 0;
  double hidden = 0;  ///< times the mean square between both models' last hidden states, added
  std::filesystem::path checkpoints{};  ///< empty: none are written
  std::string build{};                  ///< of this program; checkpoints keep it
  /// Gets every step and its parts: the graph's ops, the teacher as one row of forward, and the
  /// optimizer as "zero gradients", "gradient norm" and "update".
  Profile* profile = nullptr;
};

class TrainingPhase {
 public:
  TrainingPhase(const TrainSettings& settings, const TrainParts& parts);

  std::int64_t steps() const { return s_.last_step() - s_.first_step; }
  std::int64_t done() const { return optimizer_->steps(); }
  /// Whether what happens `every` so many steps, and at the end, happens after this one; 0: only at
  /// the end.
  bool due(std::int64_t every) const;
  double seconds() const;                ///< over all sessions of a resumed phase
  double loss() const { return loss_; }  ///< of the last step
  const std::string& build() const {
    return build_;
  }  ///< all that trained, over all sessions: then_build
  std::optional<optim::Ema>& ema() { return ema_; }

  /// Goes on, bit for bit, from the newest checkpoint that is whole, if there is one; those that
  /// are not and were passed over.
  std::vector<nn::DamagedCheckpoint> resume();

  /// One update. A loss or gradient that is not finite is Fault::numeric naming step and node; the
  /// state is unchanged when it throws.
  UpdateReport step();

  /// What the additions have to say, {key: value, …}, with the gradients of a quarter of the last
  /// step's first batch; null for nothing. Changes nothing that a later step sees.
  Json remarks();

  void save();

 private:
  double gradients(std::int64_t step, Graph& graph);
  std::optional<Teacher> teach(const nn::Tokens& tokens);
  Var loss_of(Graph& graph, const nn::Batch& batch, const std::optional<Teacher>& teacher) const;
  std::uint64_t key(std::int64_t step, std::int64_t micro) const;
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
