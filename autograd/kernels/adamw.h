// Optimizer updates: one pass over flat memory each.
#pragma once

#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// AdamW with decoupled decay: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2 (the
/// schedule multiplier is inside lr, as in PyTorch).
struct AdamwStep {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double bias_correction1 = 1;  // 1 - beta1^t, t counts from 1
  double bias_correction2 = 1;  // 1 - beta2^t
  double grad_scale = 1;        // multiplies g first: clipping, averaging over accumulated batches
};

/// w, m, v [n] from g [n]:
///   g' = grad_scale · g;  m = β1 m + (1-β1) g';  v = β2 v + (1-β2) g'²
///   w = w - lr · decay · w - lr · (m / bc1) / (√(v / bc2) + eps)
/// Parallel over chunks; elementwise, so any split gives the same bits.
void adamw(std::span<real> w, std::span<real> m, std::span<real> v, std::span<const real> g,
           const AdamwStep& step);

struct SgdStep {
  double lr = 0;
  double momentum = 0;
  double weight_decay = 0;  // decoupled: w -= lr · decay · w
  double grad_scale = 1;
};

/// velocity = momentum · velocity + g';  w = w - lr · decay · w - lr · velocity.
/// An empty velocity means momentum 0. Parallel.
void sgd(std::span<real> w, std::span<real> velocity, std::span<const real> g, const SgdStep& step);

/// shadow = decay · shadow + (1 - decay) · w: exponential moving average of weights. Parallel.
void ema(std::span<real> shadow, std::span<const real> w, double decay);

}  // namespace notch::kernels
