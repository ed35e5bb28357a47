#include "autograd/kernels/adamw.h"

#include <cmath>
#include <cstdint>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

/// An AdamwStep in `real`, with what does not depend on the element folded.
struct AdamwFactors {
  real b1, c1, b2, c2, k, eps, keep, rate, root;
};

NOTCH_VECTOR(void, adamw_loop, real* w, real* m, real* v, const real* g, const AdamwFactors f,
             Index n) {
  for (Index i = 0; i < n; ++i) {
    const real gi = f.k * g[i];
    const real mi = f.b1 * m[i] + f.c1 * gi;
    const real vi = f.b2 * v[i] + f.c2 * gi * gi;
    m[i] = mi;
    v[i] = vi;
    w[i] = f.keep * w[i] - f.rate * mi / (f.root * std::sqrt(vi) + f.eps);
  }
}
NOTCH_VECTOR(void, sgd_loop, real* w, const real* g, real keep, real rate, Index n) {
  for (Index i = 0; i < n; ++i) w[i] = keep * w[i] - rate * g[i];
}
NOTCH_VECTOR(void, momentum_loop, real* w, real* velocity, const real* g, real keep, real rate,
             real momentum, real k, Index n) {
  for (Index i = 0; i < n; ++i) {
    const real u = momentum * velocity[i] + k * g[i];
    velocity[i] = u;
    w[i] = keep * w[i] - rate * u;
  }
}
NOTCH_VECTOR(void, ema_loop, real* shadow, const real* w, real decay, real rest, Index n) {
  for (Index i = 0; i < n; ++i) shadow[i] = decay * shadow[i] + rest * w[i];
}

}  // namespace

void adamw(std::span<real> w, std::span<real> m, std::span<real> v, std::span<const real> g,
           const AdamwStep& step) {
  require_extent("adamw", std::ssize(w), w, m, v, g);
  const AdamwFactors factors{
      .b1 = static_cast<real>(step.beta1),
      .c1 = static_cast<real>(1 - step.beta1),
      .b2 = static_cast<real>(step.beta2),
      .c2 = static_cast<real>(1 - step.beta2),
      .k = static_cast<real>(step.grad_scale),
      .eps = static_cast<real>(step.eps),
      .keep = static_cast<real>(1 - step.lr * step.weight_decay),
      .rate = static_cast<real>(step.lr / step.bias_correction1),
      .root = static_cast<real>(1 / std::sqrt(step.bias_correction2)),
  };
  for_chunks(std::ssize(w), [&](Index first, Index last) {
    adamw_loop(w.data() + first, m.data() + first, v.data() + first, g.data() + first, factors,
               last - first);
  });
}

void sgd(std::span<real> w, std::span<real> velocity, std::span<const real> g,
         const SgdStep& step) {
  require_extent("sgd", std::ssize(w), w, g);
  require_extent("sgd", velocity.empty() ? 0 : std::ssize(w), velocity);
  const real keep = static_cast<real>(1 - step.lr * step.weight_decay);
  for_chunks(std::ssize(w), [&](Index first, Index last) {
    if (velocity.empty()) {
      sgd_loop(w.data() + first, g.data() + first, keep,
               static_cast<real>(step.lr * step.grad_scale), last - first);
    } else {
      momentum_loop(w.data() + first, velocity.data() + first, g.data() + first, keep,
                    static_cast<real>(step.lr), static_cast<real>(step.momentum),
                    static_cast<real>(step.grad_scale), last - first);
    }
  });
}

void ema(std::span<real> shadow, std::span<const real> w, double decay) {
  require_extent("ema", std::ssize(shadow), shadow, w);
  for_chunks(std::ssize(shadow), [&](Index first, Index last) {
    ema_loop(shadow.data() + first, w.data() + first, static_cast<real>(decay),
             static_cast<real>(1 - decay), last - first);
  });
}

}  // namespace notch::kernels
