// Sums, scalings and reductions over flat memory.
//
// All are parallel over chunks that depend on the length only. Reductions return double: 16 float
// lanes never add more than a few hundred terms before they go into a double, in a fixed order.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

void fill(std::span<real> out, double value);
/// out = a + b; `out` may be `a` or `b`.
void add(std::span<real> out, std::span<const real> a, std::span<const real> b);
/// out = alpha · x; `out` may be `x`.
void scale(std::span<real> out, std::span<const real> x, double alpha);
/// y += alpha · x.
void accumulate(std::span<real> y, std::span<const real> x, double alpha = 1);

/// out [rows, C] = x [rows, C] + bias [C]; `out` may be `x`.
void bias_forward(std::span<real> out, std::span<const real> x, std::span<const real> bias,
                  std::int64_t rows, std::int64_t C);
/// dbias [C] += Σ_r dout[r, :]: blocks of 64 rows in `real`, blocks added in double, in ascending
/// order.
void bias_backward(std::span<real> dbias, std::span<const real> dout, std::int64_t rows,
                   std::int64_t C);

double sum(std::span<const real> x);
double sum_of_squares(std::span<const real> x);
double dot(std::span<const real> a, std::span<const real> b);
/// Pairwise sum of doubles (per-row losses); a fixed tree, serial.
double tree_sum(std::span<const double> x);

}  // namespace notch::kernels
