#include "optim/schedule.h"

#include <cmath>
#include <numbers>

#include "autograd/base/elementary.h"
#include "autograd/base/error.h"

namespace notch::optim {

double Schedule::operator()(std::int64_t step) const {
  check(step >= 0, "schedule", "step = ", step, " is negative");
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (decay == Decay::constant) return lr;
  if (step >= steps) return min_lr;
  const double r = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
  if (decay == Decay::linear) return lr - r * (lr - min_lr);
  return min_lr + 0.5 * (1 + elementary::cos(std::numbers::pi * r)) * (lr - min_lr);
}

void Schedule::validate() const {
  check(std::isfinite(lr) && min_lr >= 0 && min_lr <= lr, "schedule", "lr = ", lr,
        " and min_lr = ", min_lr, "; needed is 0 <= min_lr <= lr");
  check(warmup >= 0 && warmup <= steps, "schedule", "warmup = ", warmup, " and steps = ", steps,
        "; needed is 0 <= warmup <= steps");
}

}  // namespace notch::optim
