// Linears on integers, on the tape: the input is rounded to codes, the product is the integer
// contract's (quant/kernels/integer_linear.h), the gradient is straight-through.
//
// Forward is the arithmetic that is shipped, bit for bit. Backward sees y = x̂ ŵᵀ + b: dx = dy ŵ
// where x was inside its range, dŵ = dyᵀ x̂; of x̂ only the codes are kept until then. In the double
// build the products are taken of x̂ and ŵ themselves, so that gradients can be checked.
#pragma once

#include <optional>

#include "autograd/graph.h"
#include "quant/kernels/integer_linear.h"
#include "quant/numbers/activation.h"
#include "quant/ops/fake_quant.h"

namespace notch::quant {

/// How an input is quantized in this step. A learned range replaces the frozen one of a static
/// spec:
///   s = lsq_step(input.at.scale, log_scale);  z = rint(clamp(qmin - offset/s, qmin, qmax)), or 0 if symmetric.
struct StepInput {
  InputQuantizer input{};
  std::optional<Var> log_scale{};  ///< [1]
  std::optional<Var> offset{};     ///< [1]: the lowest value of the range (LSQ+); asymmetric only
  /// PACT: the range is learned from what it clips alone, and the offset not at all.
  bool clipping_only = false;
  Ste ste = Ste::clipped;  ///< plain: no mask. Dynamic ranges clip nothing either way.
  /// ∂L/∂x̂ by integers, too (quant/kernels/integer_gradients.h); not in the double build.
  bool integer_backward = false;
};

/// x̂ [.., K] = (q - z) s of x [.., K]; bit for bit the values whose codes the products below use.
/// Gradients: quant/kernels/input_gradients.h; those of log_scale (times s) and offset are
/// multiplied by 1/√(K · codes above the lowest or, if symmetric, above 0), K being the features of
/// a token (Esser et al. 2020, section 2.2); with clipping_only by 1.
Var quantize_input(Var x, const StepInput& how);

/// x as a product gets it: multiplied by `how.multiply`, rotated, then rounded.
Var apply(Var x, const InputMap& how);

/// y = x̂ ŵᵀ + bias by the integer contract: x [.., K], w = ŵ [N, K], whose integers are `packed`;
/// bias [N] -> [.., N]. The memory of `packed` must outlive the step; the double build takes null.
Var quantized_linear(Var x, Var w, std::optional<Var> bias, const StepInput& how,
                     const PackedWeights* packed);

/// A learned range: that of `start` times exp(log_scale), from `offset` on where it has one.
UnitScale range_of(const InputQuantizer& start, real log_scale, std::optional<real> offset);

}  // namespace notch::quant
