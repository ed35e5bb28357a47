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

}  // namespace notch::kernels
