// GELU in both of its forms, SwiGLU, and the elementwise functions that share their vector math.
//
// GELU: Hendrycks and Gimpel 2016, arXiv:1606.08415. The forms differ by up to 5e-4, so a model
// must be run with the one it was trained with: GPT-2 uses tanh, nanoGPT the exact form.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "autograd/base/real.h"

namespace notch::kernels {

enum class Gelu {
  exact,  // x · Φ(x), Φ(x) = (1 + erf(x/√2)) / 2
  tanh,   // x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
};
constexpr auto names(Gelu) { return std::array<std::string_view, 2>{"exact", "tanh"}; }

/// out [n] = gelu(x [n]). -inf gives NaN (-inf · 0), as in PyTorch. `out` may be `x`. Parallel.
void gelu_forward(std::span<real> out, std::span<const real> x, Gelu form);

/// dx [n] += dout [n] · gelu'(x [n]), or = if it is fresh. Parallel.
void gelu_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> x,
                   Gelu form, bool fresh = false);

/// out [n] = silu(gate [n]) · up [n], silu(x) = x · sigmoid(x): the inside of SwiGLU (Shazeer 2020,
/// arXiv:2002.05202, eq. 6 without the matrices). Parallel.
void swiglu_forward(std::span<real> out, std::span<const real> gate, std::span<const real> up);

/// dgate [n], dup [n] += from dout; an empty one is skipped. Parallel.
void swiglu_backward(std::span<real> dgate, std::span<real> dup, std::span<const real> dout,
                     std::span<const real> gate, std::span<const real> up);

/// out [n] = f(x [n]); `out` may be `x`. Parallel.
void exp_forward(std::span<real> out, std::span<const real> x);
void tanh_forward(std::span<real> out, std::span<const real> x);
void sigmoid_forward(std::span<real> out, std::span<const real> x);

/// dx [n] += dout · f'(x), from the saved output: y, 1 - y², y (1 - y). Parallel.
void exp_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out);
void tanh_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out);
void sigmoid_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out);

}  // namespace notch::kernels
