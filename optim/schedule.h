// Learning-rate schedule: a pure function of the step, so that a resumed run needs no state.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace notch::optim {

/// What follows the warm-up.
enum class Decay { cosine, linear, constant };
constexpr auto names(Decay) {
  return std::array<std::string_view, 3>{"cosine", "linear", "constant"};
}

/// lr(s) for steps s = 0, 1, …, steps - 1:
///   s < warmup:  lr · (s + 1) / warmup        (no step is idle; the warm-up's last has the peak)
///   otherwise, with r = (s - warmup) / (steps - warmup) in [0, 1):
///     cosine:    min_lr + (1 + cos πr)/2 · (lr - min_lr)
///     linear:    lr - r · (lr - min_lr)
///     constant:  lr
/// and min_lr from s = steps on (constant: lr). The cosine is nanoGPT's get_lr with
/// lr_decay_iters = steps; its warm-up is (s+1)/(warmup+1), at first s/warmup. Here step number
/// warmup, counted from 1 as logs count, has the peak, so that a warm-up of one step is none.
struct Schedule {
  double lr = 1e-3;      ///< peak
  double min_lr = 1e-4;  ///< reached at `steps`, one step after the last
  std::int64_t warmup = 0;
  std::int64_t steps = 1;
  Decay decay = Decay::cosine;

  double operator()(std::int64_t step) const;
  /// Throws (usage) unless 0 <= min_lr <= lr are finite and 0 <= warmup <= steps.
  void validate() const;
};

}  // namespace notch::optim
