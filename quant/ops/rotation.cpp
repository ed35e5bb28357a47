#include "quant/ops/rotation.h"

#include <algorithm>

#include "quant/kernels/hadamard.h"

namespace notch::quant {
namespace {

struct Rotate {
  static constexpr std::string_view name = "rotate";
  std::span<const std::int8_t> signs;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    check(x.cols() == std::ssize(signs), name, "x is ", x.shape, " but the rotation has ",
          signs.size(), " channels");
    const Tensor out = f.out(x.shape);
    std::ranges::copy(x.flat(), out.data);
    rotate_rows(out.flat(), signs);
    return out;
  }
  void backward(Backward& b) const {
    const std::span<real> dx = b.grad(0);
    if (dx.empty()) return;
    const std::span<real> back = b.scratch(std::ssize(dx));
    std::ranges::copy(b.dout(), back.begin());
    rotate_rows_back(back, signs);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += back[i];
  }
};

}  // namespace

Var rotate(Var x, std::span<const std::int8_t> signs) {
  return x.tape().record(Rotate{signs}, {x});
}

}  // namespace notch::quant
