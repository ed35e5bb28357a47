// AdamW: Adam with decoupled weight decay. Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm
// 2, with the schedule's multiplier inside lr as in PyTorch (so the decay per step is lr · decay).
// The update itself is kernels::adamw.
#pragma once

#include "optim/optimizer.h"

namespace notch::optim {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;  ///< added to √v̂, outside the root
};

class AdamW final : public Optimizer {
 public:
  /// Allocates two moments per element, zeroed. Throws (usage) unless 0 <= β < 1 and eps > 0, and
  /// as FlatLayout does.
  explicit AdamW(std::vector<ParamGroup> groups, const AdamWConfig& config = {});
  std::vector<StateTensor> state() override;  ///< "m.<parameter>" and "v.<parameter>"

 private:
  void update(const FlatRun& run, double lr, double grad_scale) override;
  AdamWConfig config_;
  FlatBlock m_, v_;
};

}  // namespace notch::optim
