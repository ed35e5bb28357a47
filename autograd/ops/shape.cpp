// Ops that move elements and compute nothing.

#include <algorithm>
#include <utility>

#include "autograd/ops.h"

namespace notch {
namespace {

struct Reshape {
  static constexpr std::string_view name = "reshape";
  Shape shape;
  Tensor forward(Forward& f) {
    check(shape.size() == f.in(0).size(), name, f.in(0).shape, " does not fit ", shape);
    return f.view(0, shape);
  }
  void backward(Backward& b) const { b.pass_dout(0); }
};

struct Transpose {
  static constexpr std::string_view name = "transpose";
  int axis_a, axis_b;  // axis_a < axis_b

  /// x as [outer, A, middle, B, inner] becomes [outer, B, middle, A, inner]; move(to, from, inner).
  template <class Move>
  void each(const Shape& x, const Move& move) const {
    std::int64_t outer = 1, middle = 1, inner = 1;
    const std::int64_t A = x[axis_a], B = x[axis_b];
    for (int i = 0; i < axis_a; ++i) outer *= x[i];
    for (int i = axis_a + 1; i < axis_b; ++i) middle *= x[i];
    for (int i = axis_b + 1; i < x.rank(); ++i) inner *= x[i];
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t a = 0; a < A; ++a) {
        for (std::int64_t m = 0; m < middle; ++m) {
          for (std::int64_t b = 0; b < B; ++b) {
            move((((o * B + b) * middle + m) * A + a) * inner,
                 (((o * A + a) * middle + m) * B + b) * inner, inner);
          }
        }
      }
    }
  }
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    const Tensor y = f.out(x.shape.with(axis_a, x.shape[axis_b]).with(axis_b, x.shape[axis_a]));
    each(x.shape, [&](std::int64_t to, std::int64_t from, std::int64_t n) {
      std::copy_n(x.data + from, n, y.data + to);
    });
    return y;
  }
  void backward(Backward& b) const {
    const auto dy = b.dout();
    const auto dx = b.grad(0);
    each(b.in(0).shape, [&](std::int64_t to, std::int64_t from, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        dx[static_cast<std::size_t>(from + i)] += dy[static_cast<std::size_t>(to + i)];
      }
    });
  }
};

/// Rows of `run` elements: where axis `axis` of a tensor starts and how long one step of it is.
struct Runs {
  std::int64_t outer = 1, inner = 1;
  Runs(const Shape& shape, int axis) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
};

struct Slice {
  static constexpr std::string_view name = "slice";
  int axis;
  std::int64_t begin, end;
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    check(axis >= 0 && axis < x.shape.rank() && 0 <= begin && begin <= end && end <= x.shape[axis],
          name, "[", begin, ", ", end, ") of axis ", axis, " of ", x.shape);
    const Tensor y = f.out(x.shape.with(axis, end - begin));
    const Runs runs(x.shape, axis);
    const std::int64_t n = (end - begin) * runs.inner;
    for (std::int64_t o = 0; o < runs.outer; ++o) {
      std::copy_n(x.data + (o * x.shape[axis] + begin) * runs.inner, n, y.data + o * n);
    }
    return y;
  }
  void backward(Backward& b) const {
    const Shape shape = b.in(0).shape;
    const Runs runs(shape, axis);
    const std::int64_t n = (end - begin) * runs.inner;
    const auto dy = b.dout();
    const auto dx = b.grad(0);
    for (std::int64_t o = 0; o < runs.outer; ++o) {
      for (std::int64_t i = 0; i < n; ++i) {
        dx[static_cast<std::size_t>((o * shape[axis] + begin) * runs.inner + i)] +=
            dy[static_cast<std::size_t>(o * n + i)];
      }
    }
  }
};

struct Concat {
  static constexpr std::string_view name = "concat";
  int axis;
  Tensor forward(Forward& f) {
    Shape shape = f.in(0).shape;
    check(axis >= 0 && axis < shape.rank(), name, "axis ", axis, " of ", shape);
    std::int64_t extent = 0;
    for (int i = 0; i < f.inputs(); ++i) {
      const Shape s = f.in(i).shape;
      check(s.rank() == shape.rank() && s.with(axis, 0) == shape.with(axis, 0), name, "part ", i,
            " is ", s, ", part 0 is ", shape, "; they may differ in axis ", axis, " only");
      extent += s[axis];
    }
    const Tensor y = f.out(shape.with(axis, extent));
    std::int64_t at = 0;
    for (int i = 0; i < f.inputs(); ++i) {
      const Tensor x = f.in(i);
      const Runs runs(x.shape, axis);
      const std::int64_t n = x.shape[axis] * runs.inner;
      for (std::int64_t o = 0; o < runs.outer; ++o) {
        std::copy_n(x.data + o * n, n, y.data + (o * extent + at) * runs.inner);
      }
      at += x.shape[axis];
    }
    return y;
  }
  void backward(Backward& b) const {
    const auto dy = b.dout();
    const std::int64_t extent = b.out().shape[axis];
    std::int64_t at = 0;
    for (int i = 0; at < extent || i == 0; ++i) {
      const Shape shape = b.in(i).shape;
      const Runs runs(shape, axis);
      const std::int64_t n = shape[axis] * runs.inner;
      if (const auto dx = b.grad(i); !dx.empty()) {
        for (std::int64_t j = 0; j < runs.outer * n; ++j) {
          dx[static_cast<std::size_t>(j)] +=
              dy[static_cast<std::size_t>((j / n * extent + at) * runs.inner + j % n)];
        }
      }
      at += shape[axis];
    }
  }
};

}  // namespace

Var reshape(Var x, Shape shape) { return x.tape().record(Reshape{shape}, {x}); }

Var transpose(Var x, int axis_a, int axis_b) {
  if (axis_a > axis_b) std::swap(axis_a, axis_b);
  check(axis_a >= 0 && axis_a < axis_b && axis_b < x.shape().rank(), "transpose", "axes ", axis_a,
        " and ", axis_b, " of ", x.shape());
  return x.tape().record(Transpose{axis_a, axis_b}, {x});
}

Var slice(Var x, int axis, std::int64_t begin, std::int64_t end) {
  return x.tape().record(Slice{axis, begin, end}, {x});
}

Var concat(std::span<const Var> parts, int axis) {
  check(!parts.empty(), "concat", "no parts");
  return parts.front().tape().record(Concat{axis}, parts);
}

}  // namespace notch
