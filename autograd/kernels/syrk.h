// out += xᵀ x, upper triangle only: half the work of a matrix product.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// out [N, N] += xᵀ x for x [M, N], upper triangle only: symmetric rank-M update. Parallel.
/// Products of up to kSyrkRows rows are summed in `real`, at twice the rate of double, and those
/// sums in double. Per element of floats, with u = 2^-24 and however many rows there are,
///   |error_ij| <= kSyrkRows·u / (1 - kSyrkRows·u) · Σ_t |x_ti x_tj|  <=  6.2e-5 √(out_ii out_jj),
/// which is the bound for a sum in any order; rounding errors being random, the error is smaller by
/// about √kSyrkRows. x is packed, up to 2048 rows at a time, into a buffer of the calling thread
/// that is kept for the next call.
void syrk(std::span<double> out, std::span<const real> x, std::int64_t M, std::int64_t N);
inline constexpr std::int64_t kSyrkRows = 1024;

}  // namespace notch::kernels
