#include "quant/ops/half_rounded.h"

#include "autograd/base/half.h"

namespace notch::quant {
namespace {

struct HalfRounded {
  static constexpr std::string_view name = "half_rounded";
  double factor;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), y = f.out(x.shape);
    for (std::int64_t i = 0; i < x.size(); ++i) y.data[i] = half_of(x.data[i], factor);
    return y;
  }
  void backward(Backward& b) const {
    const std::span<real> dx = b.grad(0);
    const std::span<const real> dout = b.dout();
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += static_cast<real>(factor) * dout[i];
  }
};

}  // namespace

Var half_rounded(Var x, double factor) { return x.tape().record(HalfRounded{factor}, {x}); }

real half_of(real x, double factor) {
  const real v = static_cast<real>(factor) * x;
#ifdef NOTCH_DOUBLE
  return v;  // as round_scale: rounding would hide the derivatives that this build checks
#else
  return from_f16(to_f16(v));
#endif
}

}  // namespace notch::quant
