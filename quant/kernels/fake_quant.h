// Gradients of fake quantization: the straight-through mask and the derivative of the step.
//
// Units, scales and zero points as in round.h, whose fake_quant is the forward. Gradients are added
// to (+=); an empty span is not wanted. Serial, vectorised, same bits for every instruction set.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"
#include "quant/kernels/grid.h"

namespace notch::quant {

/// dw += dout where lowest - reach <= w/scale <= highest + reach, nothing elsewhere (Grid::reach).
/// Equality counts as inside, and so do 2 ε of the limits beyond it (kInside).
///   ŵ = s · level nearest to w/s
/// where rounding counts as the identity (Bengio et al. 2013, arXiv:1308.3432).
void clipped_ste_backward(std::span<real> dw, std::span<const real> dout, std::span<const real> w,
                          const Units& units, const Grid& grid);

/// LSQ, Esser et al. 2020 (arXiv:1902.08153), eq. 3 and 5, with v = w/s; the scale may have either
/// sign, and lowest and highest are those of the unit's zero point, which stays what it is:
///   dŵ/dw = 1 inside [lowest, highest], 0 outside
///   dŵ/ds = level(v) - v inside;  lowest where v <= lowest;  highest where v >= highest
/// with level(v) the nearest: rint(v) among the integers. With a reach both limits lie that much
/// further out (ParetoQ, arXiv:2502.02631).
/// dlog[u] += factor · s_u · Σ dout · dŵ/ds over the unit, summed in double: the gradient of log s.
void lsq_backward(std::span<real> dw, std::span<real> dlog, std::span<const real> dout,
                  std::span<const real> w, const Units& units, const Grid& grid, double factor);

/// Number of elements whose value fake quantization changed: by more than 4 ε of it. A scale that
/// is found again on rounded weights can differ in its last place (fl(fl(7s)/7) ≠ s for 11 % of the
/// floats s that a training may learn); that quantizes nothing.
std::int64_t count_moved(std::span<const real> before, std::span<const real> after);

}  // namespace notch::quant
