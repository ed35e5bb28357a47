// Rotation of rows by random signs and Walsh-Hadamard matrices: n log n additions a row.
//
// x of K channels is cut into blocks of n = hadamard_block(K) channels, the largest power of two that
// divides K. In every block x becomes H (signs ∘ x) / √n, H the Hadamard matrix in Sylvester's order,
// H_ij = (-1)^popcount(i & j). The rotation is orthogonal: it keeps products of rows that are rotated
// alike, and spreads an outlier over its block. Source: QuIP# (arXiv:2402.04396), section 3; QuaRot
// (arXiv:2404.00456).
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::quant {

std::int64_t hadamard_block(std::int64_t cols);

/// Rotates each row of x [rows, signs.size()] in place. Parallel; the same bits for any number of
/// threads and every instruction set.
void rotate_rows(std::span<real> x, std::span<const std::int8_t> signs);
/// The inverse.
void rotate_rows_back(std::span<real> x, std::span<const std::int8_t> signs);

}  // namespace notch::quant
