#include "optim/adamw.h"

#include <cmath>
#include <utility>

#include "autograd/base/elementary.h"
#include "autograd/kernels/adamw.h"

namespace notch::optim {

AdamW::AdamW(std::vector<ParamGroup> groups, const AdamWConfig& config)
    : Optimizer(std::move(groups)), config_(config) {
  for (const double beta : {config.beta1, config.beta2}) {
    check(beta >= 0 && beta < 1, "adamw", "beta = ", beta, " is not in [0, 1)");
  }
  // Padding has m = v = 0: with eps = 0 it would become 0/0.
  check(config.eps > 0 && std::isfinite(config.eps), "adamw", "eps = ", config.eps,
        " is not positive and finite");
  m_ = FlatBlock(layout().size());
  v_ = FlatBlock(layout().size());
}

std::vector<StateTensor> AdamW::state() {
  std::vector<StateTensor> all = layout().views("m", m_);
  for (StateTensor& v : layout().views("v", v_)) all.push_back(std::move(v));
  return all;
}

void AdamW::update(const FlatRun& run, double lr, double grad_scale) {
  const auto t = static_cast<double>(steps());
  kernels::adamw(run.values, FlatLayout::part(m_, run), FlatLayout::part(v_, run), run.grads,
                 {.lr = lr,
                  .beta1 = config_.beta1,
                  .beta2 = config_.beta2,
                  .eps = config_.eps,
                  .weight_decay = run.group->weight_decay,
                  .bias_correction1 = 1 - elementary::pow(config_.beta1, t),
                  .bias_correction2 = 1 - elementary::pow(config_.beta2, t),
                  .grad_scale = grad_scale});
}

}  // namespace notch::optim
