// Block-AP: weights and scales of a block trained on the block's output, block after block; the first
// phase of EfficientQAT (Chen et al. 2024, arXiv:2407.11062, section 3.2).
//
//   ŵ = s · level nearest to w/s;  all w and s of a block by Adam on |y - ŷ|²
// with straight-through gradients of w and LSQ's of s (quant/ops/fake_quant.h), and the walk and the loss
// of quant/methods/learned_rounding.h. `efficient-qat` goes on from here with the scales alone
// (quant/train/scale_training.h).
// Deviations: (a) the first scales are least squares', the paper's min-max; (b) zero points stay; (c) kept
// are the values at the least running mean of the loss, where the paper has the last.
#pragma once

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct BlockApOptions {
  int steps = 200;
  int windows = 8;
  double lr = 1e-3;
  double scale_lr = 1e-3;
  bool operator==(const BlockApOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.steps, {"steps", "updates of every block", between(1, 1'000'000)});
    v(self.windows, {"windows", "contexts of calibration text per update", between(1, 65536)});
    v(self.lr, {"lr", "learning rate of the weights, by Adam; falls to 0 on a cosine", above(0)});
    v(self.scale_lr,
      {"scale_lr", "learning rate of the logarithms of the scales; falls as lr does", at_least(0)});
  }
};

extern const Method kBlockAp;

}  // namespace notch::quant
