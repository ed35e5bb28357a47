// Optimizer: what a trainer and a checkpoint ask of AdamW and SGD.
//
// Order of a step: zero_gradients, forward, backward, grad_norm and require_finite (optim/clip.h),
// step. To accumulate over n batches run backward n times, each seeded with 1/n
// (Graph::backward(loss, 1/n)): the gradients add up to the mean's, and norm and clip need no care.
//
// optim/ moves parameters by their gradients: optimizers, schedules, clipping, averages.
// May include: autograd.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "optim/param_group.h"

namespace notch::optim {

class Optimizer {
 public:
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// Moves the parameters by the gradients they hold, and counts the step. `lr` is the schedule's;
  /// `grad_scale` (GradNorm::scale) multiplies the gradients of the groups with clip = true.
  /// Allocates nothing. Throws (usage) when lr is negative or either is not finite.
  void step(double lr, double grad_scale = 1);

  const std::vector<ParamGroup>& groups() const { return groups_; }
  /// Updates made so far.
  std::int64_t steps() const { return steps_; }

  /// Everything a resumed run needs beside the parameters: these tensors (write into them to
  /// restore) and steps(). Valid while the optimizer lives.
  virtual std::vector<StateTensor> state() = 0;
  void set_steps(std::int64_t steps) { steps_ = steps; }

 protected:
  /// Throws as FlatLayout does: gradients must have been allocated.
  explicit Optimizer(std::vector<ParamGroup> groups);
  const FlatLayout& layout() const { return layout_; }

 private:
  /// Updates one run; steps() already counts this step.
  virtual void update(const FlatRun& run, double lr, double grad_scale) = 0;

  std::vector<ParamGroup> groups_;
  FlatLayout layout_;
  std::int64_t steps_ = 0;
};

}  // namespace notch::optim
