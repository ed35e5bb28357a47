#include "autograd/kernels/adamw.h"

#include <cmath>
#include <cstdint>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

void adamw(std::span<real> w, std::span<real> m, std::span<real> v, std::span<const real> g,
           const AdamwStep& step) {
  const real b1 = static_cast<real>(step.beta1), c1 = static_cast<real>(1 - step.beta1);
  const real b2 = static_cast<real>(step.beta2), c2 = static_cast<real>(1 - step.beta2);
  const real k = static_cast<real>(step.grad_scale), eps = static_cast<real>(step.eps);
  const real keep = static_cast<real>(1 - step.lr * step.weight_decay);
  const real rate = static_cast<real>(step.lr / step.bias_correction1);
  const real root = static_cast<real>(1 / std::sqrt(step.bias_correction2));
  for_chunks(std::ssize(w), [&](Index first, Index last) {
    real* pw = w.data();
    real* pm = m.data();
    real* pv = v.data();
    const real* pg = g.data();
    for (Index i = first; i < last; ++i) {
      const real gi = k * pg[i];
      pm[i] = b1 * pm[i] + c1 * gi;
      pv[i] = b2 * pv[i] + c2 * gi * gi;
      pw[i] = keep * pw[i] - rate * pm[i] / (root * std::sqrt(pv[i]) + eps);
    }
  });
}

void sgd(std::span<real> w, std::span<real> velocity, std::span<const real> g,
         const SgdStep& step) {
  const real k = static_cast<real>(step.grad_scale), mu = static_cast<real>(step.momentum);
  const real lr = static_cast<real>(step.lr);
  const real keep = static_cast<real>(1 - step.lr * step.weight_decay);
  for_chunks(std::ssize(w), [&](Index first, Index last) {
    real* pw = w.data();
    real* pu = velocity.data();
    const real* pg = g.data();
    if (velocity.empty()) {
      for (Index i = first; i < last; ++i) pw[i] = keep * pw[i] - lr * (k * pg[i]);
      return;
    }
    for (Index i = first; i < last; ++i) {
      pu[i] = mu * pu[i] + k * pg[i];
      pw[i] = keep * pw[i] - lr * pu[i];
    }
  });
}

void ema(std::span<real> shadow, std::span<const real> w, double decay) {
  const real d = static_cast<real>(decay), c = static_cast<real>(1 - decay);
  for_chunks(std::ssize(shadow), [&](Index first, Index last) {
    real* s = shadow.data();
    const real* p = w.data();
    for (Index i = first; i < last; ++i) s[i] = d * s[i] + c * p[i];
  });
}

}  // namespace notch::kernels
