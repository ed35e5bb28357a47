// Trainer: one training phase of a model, from its first step or from its last checkpoint to its
// end.
//
// The same loop trains the fp32 model, the control and every QAT arm; an arm differs in what takes part
// beside the model (nn/addition.h: a fake quantizer, a mask, figures) and in the teacher, not in the
// loop. Nothing here knows what quantization is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "data/batches.h"
#include "nn/addition.h"
#include "nn/model.h"
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
  std::int64_t step = 0, steps = 0;  ///< updates made, of how many
  double loss = 0, lr = 0, grad_norm = 0;
  std::int64_t tokens = 0;  ///< in this step
};

/// Who listens. Every function may be empty.
struct TrainListener {
  std::function<void(const UpdateReport&)> on_step{};  ///< every step, after on_eval
  std::function<void(const UpdateReport&)> on_log{};   ///< every log_every steps and the last
  std::function<void(std::int64_t step)>
      on_eval{};  ///< every eval_every steps; weights are the averages
  /// Every remark_every steps and the last, where an addition says something: a line of the log.
  std::function<void(std::int64_t step, const Json& remarks)> on_remark{};
  /// A checkpoint was passed over: its path and why.
  std::function<void(const std::string& path, const std::string& reason)> on_damaged{};
  std::function<void(std::int64_t step)> on_resume{};  ///< a checkpoint was found
  std::function<void()> on_start{};  ///< once, before the first step of this session
  std::function<bool()> stop_requested{};
};

/// What takes part besides the model.
struct TrainParts {
  nn::Model& model;
  std::span<const std::uint16_t> tokens{};
  std::vector<nn::Addition*> additions{};
  nn::Model* teacher = nullptr;  ///< distil from it
  double temperature = 1, alpha = 1, reverse = 0;
  std::filesystem::path checkpoints{};  ///< empty: none are written
  std::string build{};                  ///< of this program; checkpoints keep it
  /// Gets every step and its parts: the graph's ops, the teacher as one row of forward, and the
  /// optimizer as "zero gradients", "gradient norm" and "update".
  Profile* profile = nullptr;
};

struct TrainOutcome {
  bool finished = false;  ///< false: stopped on request, a checkpoint holds the state
  std::int64_t steps = 0;
  double seconds = 0;   ///< training, over all sessions of a resumed phase
  double loss = 0;      ///< of the last step
  std::string build{};  ///< all that trained, over all sessions: then_build
};

/// Trains until the schedule ends or a stop is requested. Resumes from the newest valid checkpoint
/// in `parts.checkpoints`, bit for bit. At the end the parameters hold the averaged weights if ema
/// > 0. A loss or gradient that is not finite is Fault::numeric naming step and node, before the
/// weights change.
TrainOutcome train(const TrainSettings& settings, const TrainParts& parts,
                   const TrainListener& listener = {});

}  // namespace notch::experiments
