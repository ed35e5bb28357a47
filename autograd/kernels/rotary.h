// Rotary position embedding (Su et al. 2021, arXiv:2104.09864, section 3.2): pairs of channels of
// each head are turned by an angle that grows with the position, so that q·k depends on how far
// apart the two are.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"

namespace notch::kernels {

/// table [positions, HS], HS even: the cosines of a position's HS/2 angles, then their sines.
///   angle(t, i) = t · theta^(-2i / HS) / divisors[i],  i in [0, HS/2); without divisors: 1
/// Computed in double and rounded once; transformers multiplies in float, which is off by up to
/// t · 6e-8. Parallel. Usage error unless theta and the divisors are above 0 and finite.
void rotary_table(std::span<real> table, std::int64_t positions, std::int64_t HS, double theta,
                  std::span<const double> divisors = {});

/// Sizes of x [B, T, H · HS]; row t is turned by row t of the table.
struct RotaryShape {
  std::int64_t B = 0, T = 0, H = 0, HS = 0;
};

/// out = x with each head turned by its position's angles. The pairs are transformers'
/// rotate_half: channel i with channel i + HS/2. (The paper pairs 2i with 2i + 1: the same function
/// of permuted weights.)
///   out[i]        = x[i] cos(i) - x[i + HS/2] sin(i)
///   out[i + HS/2] = x[i + HS/2] cos(i) + x[i] sin(i)
/// Parallel over rows.
void rotary_forward(std::span<real> out, std::span<const real> x, std::span<const real> table,
                    const RotaryShape& shape);

/// dx += dout turned back: a rotation's transpose is its inverse. Parallel over rows.
void rotary_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> table,
                     const RotaryShape& shape);

}  // namespace notch::kernels
