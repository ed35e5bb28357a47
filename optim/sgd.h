// Stochastic gradient descent with heavy-ball momentum (Polyak 1964), as PyTorch writes it:
// velocity = momentum · velocity + g; w -= lr · velocity. Deviation from PyTorch: weight decay is
// decoupled, as in AdamW, so that a ParamGroup means the same with both.
#pragma once

#include "optim/optimizer.h"

namespace notch::optim {

class Sgd final : public Optimizer {
 public:
  /// Allocates one velocity per element, zeroed, unless momentum is 0. Throws (usage) unless
  /// 0 <= momentum < 1, and as FlatLayout does.
  explicit Sgd(std::vector<ParamGroup> groups, double momentum = 0);
  std::vector<StateTensor> state() override;  ///< "velocity.<parameter>"

 private:
  void update(const FlatRun& run, double lr, double grad_scale) override;
  double momentum_;
  FlatBlock velocity_;
};

}  // namespace notch::optim
