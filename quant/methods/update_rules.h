// Update rules of the methods that learn rounding: a moment or two per number, no decay. (Training has
// optim/, above this.)
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "autograd/base/elementary.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/adamw.h"
#include "autograd/param.h"

namespace notch::quant {

/// body(i) for every number of the parameter, in parallel; each is by itself.
template <class Body>
void for_numbers(const Param& p, const Body& body) {
  constexpr std::int64_t kTile = 16384;
  const std::int64_t n = p.value.size();
  parallel_for(quotient_up(n, kTile), [&](std::int64_t tile) {
    for (std::int64_t i = tile * kTile; i < std::min(n, (tile + 1) * kTile); ++i) body(i);
  });
}

/// Lion (Chen et al. 2023, arXiv:2302.06675), algorithm 2:
///   p -= lr sign(β1 m + (1 - β1) g),  m = β2 m + (1 - β2) g,  β = 0.9, 0.99
class Lion {
 public:
  explicit Lion(Param& p) : p_(&p), moment_(static_cast<std::size_t>(p.value.size())) {}
  void step(double lr) {
    for_numbers(*p_, [&](std::int64_t i) {
      const real g = p_->grad.data[i];
      real& m = moment_[static_cast<std::size_t>(i)];
      const real direction = real(0.9) * m + real(0.1) * g;
      if (direction != 0) p_->value.data[i] -= std::copysign(static_cast<real>(lr), direction);
      m = real(0.99) * m + real(0.01) * g;
    });
  }

 private:
  Param* p_;
  std::vector<real> moment_;
};

/// Adam (Kingma and Ba 2014, arXiv:1412.6980), algorithm 1, β = 0.9, 0.999: AdamW without decay.
class Adam {
 public:
  explicit Adam(Param& p)
      : p_(&p),
        first_(static_cast<std::size_t>(p.value.size())),
        second_(static_cast<std::size_t>(p.value.size())) {}
  void step(double lr) {
    ++steps_;
    kernels::AdamwStep step{.lr = lr};
    step.bias_correction1 = 1 - elementary::pow(step.beta1, steps_);
    step.bias_correction2 = 1 - elementary::pow(step.beta2, steps_);
    kernels::adamw(p_->value.flat(), first_, second_, p_->grad.flat(), step);
  }

 private:
  Param* p_;
  std::vector<real> first_, second_;
  int steps_ = 0;
};

/// p = clamp(p - lr sign(g), lo, hi): what SignRound takes.
inline void sign_step(Param& p, double lr, real lo, real hi) {
  for_numbers(p, [&](std::int64_t i) {
    const real g = p.grad.data[i];
    const real moved =
        g == 0 ? p.value.data[i] : p.value.data[i] - std::copysign(static_cast<real>(lr), g);
    p.value.data[i] = std::clamp(moved, lo, hi);
  });
}

}  // namespace notch::quant
