#include "autograd/kernels/activation.h"

#include <cstdint>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"
#include "autograd/kernels/vmath.h"

namespace notch::kernels {
namespace {

constexpr real kSqrt2OverPi = static_cast<real>(0.79788456080286535588);
constexpr real kCubic = static_cast<real>(0.044715);

// Each function is a pair: value(x) and derivative(x) (of x for GELU, of the saved output
// otherwise).
struct GeluExact {
  static NOTCH_INLINE real value(real x) { return x * vmath::normal(x).cdf; }
  static NOTCH_INLINE real derivative(real x) {
    // y = x Φ(x): y' = Φ(x) + x φ(x)
    const vmath::Normal<real> n = vmath::normal(x);
    return n.cdf + x * n.pdf;
  }
};

struct GeluTanh {
  // (1 + tanh u) / 2 = sigmoid(2u), which keeps its digits for negative u
  static NOTCH_INLINE real value(real x) {
    return x * vmath::sigmoid(2 * kSqrt2OverPi * (x + kCubic * x * x * x));
  }
  static NOTCH_INLINE real derivative(real x) {
    // y = x σ(2u), u = √(2/π) (x + 0.044715 x³): y' = σ + x σ (1 - σ) 2u'
    const real s = vmath::sigmoid(2 * kSqrt2OverPi * (x + kCubic * x * x * x));
    return s + x * s * (1 - s) * (2 * kSqrt2OverPi * (1 + 3 * kCubic * x * x));
  }
};

struct Exp {
  static NOTCH_INLINE real value(real x) { return vmath::exp(x); }
  static NOTCH_INLINE real derivative(real y) { return y; }
};

struct Tanh {
  static NOTCH_INLINE real value(real x) { return vmath::tanh(x); }
  static NOTCH_INLINE real derivative(real y) { return 1 - y * y; }
};

struct Sigmoid {
  static NOTCH_INLINE real value(real x) { return vmath::sigmoid(x); }
  static NOTCH_INLINE real derivative(real y) { return y * (1 - y); }
};

template <class F>
NOTCH_INLINE void map_loop(real* out, const real* x, Index n) {
  for (Index i = 0; i < n; ++i) out[i] = F::value(x[i]);
}
template <class F>
NOTCH_INLINE void backward_loop(real* dx, const real* dout, const real* x, bool fresh, Index n) {
  if (fresh) {
    for (Index i = 0; i < n; ++i) dx[i] = dout[i] * F::derivative(x[i]);
  } else {
    for (Index i = 0; i < n; ++i) dx[i] += dout[i] * F::derivative(x[i]);
  }
}

NOTCH_VECTOR(void, gated, real* out, const real* gate, const real* up, Index n) {
  for (Index i = 0; i < n; ++i) out[i] = gate[i] * vmath::sigmoid(gate[i]) * up[i];
}

NOTCH_VECTOR(void, gate_backward, real* dgate, const real* dout, const real* gate, const real* up,
             Index n) {
  // silu(x) = x σ(x): silu' = σ + x σ (1 - σ)
  for (Index i = 0; i < n; ++i) {
    const real s = vmath::sigmoid(gate[i]);
    dgate[i] += dout[i] * up[i] * (s + gate[i] * s * (1 - s));
  }
}

NOTCH_VECTOR(void, up_backward, real* dup, const real* dout, const real* gate, Index n) {
  for (Index i = 0; i < n; ++i) dup[i] += dout[i] * (gate[i] * vmath::sigmoid(gate[i]));
}

template <class F>
void run(F, std::span<real> out, std::span<const real> x) {
  constexpr Vectorised<&map_loop<F>> map{};
  require_extent("activation", std::ssize(x), out, x);
  for_chunks(std::ssize(x), [&](Index first, Index last) {
    map(out.data() + first, x.data() + first, last - first);
  });
}
template <class F>
void run_backward(F, std::span<real> dx, std::span<const real> dout, std::span<const real> x,
                  bool fresh = false) {
  constexpr Vectorised<&backward_loop<F>> backward{};
  require_extent("activation backward", std::ssize(x), dx, dout, x);
  for_chunks(std::ssize(x), [&](Index first, Index last) {
    backward(dx.data() + first, dout.data() + first, x.data() + first, fresh, last - first);
  });
}

}  // namespace

void gelu_forward(std::span<real> out, std::span<const real> x, Gelu form) {
  form == Gelu::exact ? run(GeluExact{}, out, x) : run(GeluTanh{}, out, x);
}
void gelu_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> x,
                   Gelu form, bool fresh) {
  form == Gelu::exact ? run_backward(GeluExact{}, dx, dout, x, fresh)
                      : run_backward(GeluTanh{}, dx, dout, x, fresh);
}
void swiglu_forward(std::span<real> out, std::span<const real> gate, std::span<const real> up) {
  require_extent("swiglu", std::ssize(out), out, gate, up);
  for_chunks(std::ssize(out), [&](Index first, Index last) {
    gated(out.data() + first, gate.data() + first, up.data() + first, last - first);
  });
}
void swiglu_backward(std::span<real> dgate, std::span<real> dup, std::span<const real> dout,
                     std::span<const real> gate, std::span<const real> up) {
  const Index n = std::ssize(dout);
  require_extent("swiglu backward", n, gate, up);
  require_extent("swiglu backward", dgate.empty() ? 0 : n, dgate);
  require_extent("swiglu backward", dup.empty() ? 0 : n, dup);
  for_chunks(std::ssize(dout), [&](Index first, Index last) {
    const real *d = dout.data() + first, *g = gate.data() + first, *u = up.data() + first;
    if (!dgate.empty()) gate_backward(dgate.data() + first, d, g, u, last - first);
    if (!dup.empty()) up_backward(dup.data() + first, d, g, last - first);
  });
}
void exp_forward(std::span<real> out, std::span<const real> x) { run(Exp{}, out, x); }
void tanh_forward(std::span<real> out, std::span<const real> x) { run(Tanh{}, out, x); }
void sigmoid_forward(std::span<real> out, std::span<const real> x) { run(Sigmoid{}, out, x); }
void exp_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  run_backward(Exp{}, dx, dout, out);
}
void tanh_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  run_backward(Tanh{}, dx, dout, out);
}
void sigmoid_backward(std::span<real> dx, std::span<const real> dout, std::span<const real> out) {
  run_backward(Sigmoid{}, dx, dout, out);
}

}  // namespace notch::kernels
