// Softmax and log-sum-exp over the last dimension.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [rows, C] = exp(x - max) / Σ exp(x - max). `out` may be `x`. A row that holds a NaN or +inf,
/// or only -inf, becomes NaN. Parallel over rows.
void softmax_forward(std::span<real> out, std::span<const real> x, std::int64_t rows,
                     std::int64_t C);

/// dx [rows, C] += out · (dout - Σ dout·out). Parallel over rows.
void softmax_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out,
                      std::int64_t rows, std::int64_t C);

/// out [rows] = log Σ exp(x [rows, C]), by way of the row's maximum. Parallel over rows.
void log_sum_exp(std::span<real> out, std::span<const real> x, std::int64_t rows, std::int64_t C);

}  // namespace notch::kernels
