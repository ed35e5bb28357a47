// Dropout whose mask is a pure function of (key, element index): nothing is stored, the backward
// draws the same mask again, and no order of evaluation matters.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out[i] = counter_uniform(key, i) < p ? 0 : x[i] / (1 - p), 0 ≤ p < 1. `out` may be `x`.
/// Parallel. (Srivastava et al. 2014, in the inverted form: evaluation needs no scaling.)
void dropout_forward(std::span<real> out, std::span<const real> x, double p, std::uint64_t key);

/// dx[i] += counter_uniform(key, i) < p ? 0 : dout[i] / (1 - p). Parallel.
void dropout_backward(std::span<real> dx, std::span<const real> dout, double p, std::uint64_t key);

}  // namespace notch::kernels
