// Products of few rows with a large matrix: decoding, which is as fast as the weights can be read.
//
// Separate from gemm, because the work is to stream w once at memory speed, and because here the
// order of the additions is part of the interface: rows are computed one by one in the order below,
// so the result for a token does not depend on how many others are in the batch, and the packed
// integer kernels of quant/ follow the same order and give the same bits as their dequantized
// weights.
//   lane l of 16 adds x[k]·w[k] over k = l, l + 16, … in ascending order by fused multiply-adds,
//   starting from 0; lanes l and l + 8 are added, then l + 4, l + 2, l + 1; then the bias is added.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// Rows of x up to which this beats gemm.
inline constexpr std::int64_t kGemvRows = 8;

/// out [M, N] = x [M, K] · w [N, K]ᵀ + bias [N]; an empty bias is none. w is read once, in
/// order. Any M; no allocation. Parallel over N.
void gemv(std::span<real> out, std::span<const real> x, std::span<const real> w,
          std::span<const real> bias, std::int64_t M, std::int64_t N, std::int64_t K);

}  // namespace notch::kernels
