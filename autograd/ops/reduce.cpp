// Reductions over one axis or all, and softmax.

#include <algorithm>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/softmax.h"
#include "autograd/ops.h"

namespace notch {
namespace {

/// x seen as [outer, n, inner] with the reduced axis in the middle; all axes: [1, size, 1].
struct Axis {
  std::int64_t outer = 1, n = 1, inner = 1;
  Shape reduced{1};
};

Axis axis_of(const Shape& shape, int axis, std::string_view op) {
  if (axis == kAllAxes) return {.n = shape.size()};
  check(axis >= 0 && axis < shape.rank(), op, "axis ", axis, " of ", shape);
  Axis a{.n = shape[axis], .reduced = shape.without(axis)};
  for (int i = 0; i < axis; ++i) a.outer *= shape[i];
  for (int i = axis + 1; i < shape.rank(); ++i) a.inner *= shape[i];
  check(a.n > 0, op, "axis ", axis, " of ", shape, " is empty");
  return a;
}

struct Sum {
  static constexpr std::string_view name = "sum";
  int axis;
  Tensor forward(Forward& f) {
    const Axis a = axis_of(f.in(0).shape, axis, name);
    const Tensor x = f.in(0), y = f.out(a.reduced);
    if (a.inner == 1) {
      for (std::int64_t o = 0; o < a.outer; ++o) {
        y.data[o] =
            static_cast<real>(kernels::sum({x.data + o * a.n, static_cast<std::size_t>(a.n)}));
      }
      return y;
    }
    std::fill_n(y.data, y.size(), real{0});
    for (std::int64_t o = 0; o < a.outer; ++o) {
      for (std::int64_t k = 0; k < a.n; ++k) {
        for (std::int64_t i = 0; i < a.inner; ++i) {
          y.data[o * a.inner + i] += x.data[(o * a.n + k) * a.inner + i];
        }
      }
    }
    return y;
  }
  void backward(Backward& b) const {
    const Axis a = axis_of(b.in(0).shape, axis, name);
    const auto dy = b.dout();
    const auto dx = b.grad(0);
    for (std::int64_t o = 0; o < a.outer; ++o) {
      for (std::int64_t k = 0; k < a.n; ++k) {
        for (std::int64_t i = 0; i < a.inner; ++i) {
          dx[static_cast<std::size_t>((o * a.n + k) * a.inner + i)] +=
              dy[static_cast<std::size_t>(o * a.inner + i)];
        }
      }
    }
  }
};

struct Max {
  static constexpr std::string_view name = "max";
  int axis;
  std::span<std::int64_t> winner{};  // flat index of each output's maximum
  Tensor forward(Forward& f) {
    const Axis a = axis_of(f.in(0).shape, axis, name);
    check(a.n > 0, name, f.in(0).shape, " has no maximum");
    const Tensor x = f.in(0), y = f.out(a.reduced);
    winner = f.keep<std::int64_t>(y.size());
    for (std::int64_t o = 0; o < a.outer; ++o) {
      for (std::int64_t i = 0; i < a.inner; ++i) {
        std::int64_t best = o * a.n * a.inner + i;
        for (std::int64_t k = 1; k < a.n; ++k) {
          const std::int64_t at = (o * a.n + k) * a.inner + i;
          // The negated comparison lets a NaN win, and stay.
          if (!(x.data[at] <= x.data[best]) && x.data[best] == x.data[best]) best = at;
        }
        winner[static_cast<std::size_t>(o * a.inner + i)] = best;
        y.data[o * a.inner + i] = x.data[best];
      }
    }
    return y;
  }
  void backward(Backward& b) const {
    const auto dy = b.dout();
    const auto dx = b.grad(0);
    for (std::size_t j = 0; j < winner.size(); ++j)
      dx[static_cast<std::size_t>(winner[j])] += dy[j];
  }
};

struct Softmax {
  static constexpr std::string_view name = "softmax";
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), y = f.out(x.shape);
    kernels::softmax_forward(y.flat(), x.flat(), x.rows(), x.cols());
    return y;
  }
  void backward(Backward& b) const {
    const Tensor y = b.out();
    kernels::softmax_backward(b.grad(0), b.dout(), y.flat(), y.rows(), y.cols());
  }
};

}  // namespace

Var sum(Var x, int axis) { return x.tape().record(Sum{axis}, {x}); }

Var mean(Var x, int axis) {
  const Axis a = axis_of(x.shape(), axis, "mean");
  check(a.n > 0, "mean", x.shape(), " has no mean");
  return scale(sum(x, axis), 1.0 / static_cast<double>(a.n));
}

Var max(Var x, int axis) { return x.tape().record(Max{axis}, {x}); }
Var softmax(Var x) { return x.tape().record(Softmax{}, {x}); }

}  // namespace notch
