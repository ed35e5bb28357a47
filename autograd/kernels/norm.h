// Normalization over the last dimension: LayerNorm (Ba, Kiros and Hinton 2016, arXiv:1607.06450)
// and RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), which has neither mean nor beta.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [rows, C] = (x - mean) · rstd · gamma + beta;  mean, rstd [rows];  gamma, beta [C], beta may
/// be empty.
///   mean = Σx / C;  rstd = 1 / √(Σ(x - mean)² / C + eps)
/// Two passes: E[x²] - E[x]² loses digits when |mean| ≫ std. Parallel over rows.
void layernorm_forward(std::span<real> out, std::span<real> mean, std::span<real> rstd,
                       std::span<const real> x, std::span<const real> gamma,
                       std::span<const real> beta, std::int64_t rows, std::int64_t C, double eps);

/// layernorm_forward's out once more, from the mean and rstd it gave: the same bits. Parallel.
void layernorm_again(std::span<real> out, std::span<const real> x, std::span<const real> gamma,
                     std::span<const real> beta, std::span<const real> mean,
                     std::span<const real> rstd, std::int64_t rows, std::int64_t C);

/// dx [rows, C], dgamma [C], dbeta [C] +=; an empty one is skipped. Parallel over rows; the
/// parameter gradients are summed in fixed row tiles and added in tile order. workspace:
/// layernorm_backward_workspace(rows, C) elements, contents irrelevant.
void layernorm_backward(std::span<real> dx, std::span<real> dgamma, std::span<real> dbeta,
                        std::span<const real> dout, std::span<const real> x,
                        std::span<const real> gamma, std::span<const real> mean,
                        std::span<const real> rstd, std::int64_t rows, std::int64_t C,
                        std::span<real> workspace);
std::int64_t layernorm_backward_workspace(std::int64_t rows, std::int64_t C);

/// out [rows, C] = x · rstd · gamma;  rstd [rows];  gamma [C].
///   rstd = 1 / √(Σx² / C + eps): eq. 4, with eps below the root as in LLaMA. Parallel over rows.
void rmsnorm_forward(std::span<real> out, std::span<real> rstd, std::span<const real> x,
                     std::span<const real> gamma, std::int64_t rows, std::int64_t C, double eps);

/// rmsnorm_forward's out once more, from the rstd it gave: the same bits. Parallel.
void rmsnorm_again(std::span<real> out, std::span<const real> x, std::span<const real> gamma,
                   std::span<const real> rstd, std::int64_t rows, std::int64_t C);

/// dx [rows, C], dgamma [C] +=; an empty one is skipped. Sums as layernorm_backward does, with its
/// workspace.
void rmsnorm_backward(std::span<real> dx, std::span<real> dgamma, std::span<const real> dout,
                      std::span<const real> x, std::span<const real> gamma,
                      std::span<const real> rstd, std::int64_t rows, std::int64_t C,
                      std::span<real> workspace);

}  // namespace notch::kernels
