// Table lookup and its scatter-add gradient.
//
// Every id must lie in [0, number of rows of the table): the ops check that once per batch, the
// kernels do not.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [n, C] = table[ids[i], :] for ids [n]. Parallel over rows.
void embedding_forward(std::span<real> out, std::span<const real> table,
                       std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C);

/// dtable[ids[i], :] += dout[i, :], in ascending i for every element. Parallel over columns.
void embedding_backward(std::span<real> dtable, std::span<const real> dout,
                        std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C);

/// out [B, T, C] = wte[ids[b, t], :] + wpe[first + t, :]; `first` is the position of t = 0
/// (decoding). Parallel.
void token_position_forward(std::span<real> out, std::span<const real> wte,
                            std::span<const real> wpe, std::span<const std::int32_t> ids,
                            std::int64_t B, std::int64_t T, std::int64_t C, std::int64_t first = 0);

/// drows [T, C] += Σ_b dout[b, t, :] for dout [B, T, C], in ascending b: the gradient of rows that
/// every sequence of a batch shares (positions). Parallel.
void batch_sum_backward(std::span<real> drows, std::span<const real> dout, std::int64_t B,
                        std::int64_t T, std::int64_t C);

}  // namespace notch::kernels
