#include "optim/optimizer.h"

#include <cmath>
#include <limits>
#include <utility>

namespace notch::optim {

Optimizer::Optimizer(std::vector<ParamGroup> groups)
    : groups_(std::move(groups)), layout_(groups_, FlatLayout::Gradients::required) {}

void Optimizer::step(double lr, double grad_scale) {
  check(std::isfinite(lr) && lr >= 0, "optimizer", "lr = ", lr);
  check(std::isfinite(grad_scale), "optimizer", "grad_scale = ", grad_scale);
  check(steps_ >= 0 && steps_ < std::numeric_limits<std::int64_t>::max(), "optimizer",
        "steps = ", steps_, " is no number of updates made");
  ++steps_;
  for (const FlatRun& run : layout_.runs()) {
    update(run, lr * run.group->lr_mult, run.group->clip ? grad_scale : 1);
  }
}

}  // namespace notch::optim
