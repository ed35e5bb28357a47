#include "optim/sgd.h"

#include <utility>

#include "autograd/kernels/adamw.h"

namespace notch::optim {

Sgd::Sgd(std::vector<ParamGroup> groups, double momentum)
    : Optimizer(std::move(groups)), momentum_(momentum) {
  check(momentum >= 0 && momentum < 1, "sgd", "momentum = ", momentum, " is not in [0, 1)");
  if (momentum > 0) velocity_ = FlatBlock(layout().size());
}

std::vector<StateTensor> Sgd::state() {
  if (momentum_ == 0) return {};
  return layout().views("velocity", velocity_);
}

void Sgd::update(const FlatRun& run, double lr, double grad_scale) {
  const auto velocity = momentum_ > 0 ? FlatLayout::part(velocity_, run) : std::span<real>{};
  kernels::sgd(run.values, velocity, run.grads,
               {.lr = lr,
                .momentum = momentum_,
                .weight_decay = run.group->weight_decay,
                .grad_scale = grad_scale});
}

}  // namespace notch::optim
