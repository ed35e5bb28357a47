// Elementwise ops. A unary op is a functor: f, and df in terms of input x and output y.

#include "autograd/kernels/elementwise.h"

#include <algorithm>

#include "autograd/base/elementary.h"
#include "autograd/kernels/dropout.h"
#include "autograd/ops.h"

namespace notch {
namespace {

// ---- unary ----

struct Log {
  static constexpr std::string_view name = "log";
  static real f(real x) { return elementary::log(x); }
  static real df(real x, real) { return 1 / x; }
};
struct Relu {
  static constexpr std::string_view name = "relu";
  // x < 0 ? 0 : x keeps a NaN, which max(x, 0) would hide.
  static real f(real x) { return x < 0 ? 0 : x; }
  static real df(real x, real) { return x > 0 ? real{1} : real{0}; }
};

template <class F>
struct Unary {
  static constexpr std::string_view name = F::name;
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), y = f.out(x.shape);
    std::transform(x.data, x.data + x.size(), y.data, F::f);
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0), y = b.out();
    const auto dy = b.dout();
    const auto dx = b.grad(0);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += dy[i] * F::df(x.data[i], y.data[i]);
  }
};

/// The functions whose kernels compute the gradient from the output.
struct Exp {
  static constexpr std::string_view name = "exp";
  static constexpr auto run = kernels::exp_forward;
  static constexpr auto differentiate = kernels::exp_backward;
};
struct Tanh {
  static constexpr std::string_view name = "tanh";
  static constexpr auto run = kernels::tanh_forward;
  static constexpr auto differentiate = kernels::tanh_backward;
};
struct Sigmoid {
  static constexpr std::string_view name = "sigmoid";
  static constexpr auto run = kernels::sigmoid_forward;
  static constexpr auto differentiate = kernels::sigmoid_backward;
};

template <class F>
struct FromOutput {
  static constexpr std::string_view name = F::name;
  Tensor forward(Forward& f) {
    const Tensor y = f.out(f.in(0).shape);
    F::run(y.flat(), f.in(0).flat());
    return y;
  }
  void backward(Backward& b) const { F::differentiate(b.grad(0), b.dout(), b.out().flat()); }
};

struct GeluOp {
  static constexpr std::string_view name = "gelu";
  Gelu form;
  Tensor recompute(Forward& f) const {
    const Tensor y = f.out(f.in(0).shape);
    kernels::gelu_forward(y.flat(), f.in(0).flat(), form);
    return y;
  }
  Tensor forward(Forward& f) { return recompute(f); }
  void backward(Backward& b) const {
    const auto dx = b.first_grad(0);
    kernels::gelu_backward(dx.values, b.dout(), b.in(0).flat(), form, dx.fresh);
  }
};

struct Scale {
  static constexpr std::string_view name = "scale";
  double factor;
  Tensor forward(Forward& f) {
    const Tensor y = f.out(f.in(0).shape);
    kernels::scale(y.flat(), f.in(0).flat(), factor);
    return y;
  }
  void backward(Backward& b) const { kernels::accumulate(b.grad(0), b.dout(), factor); }
};

struct Dropout {
  static constexpr std::string_view name = "dropout";
  double p;
  std::uint64_t key = 0;
  Tensor forward(Forward& f) {
    key = f.key();
    const Tensor y = f.out(f.in(0).shape);
    kernels::dropout_forward(y.flat(), f.in(0).flat(), p, key);
    return y;
  }
  void backward(Backward& b) const { kernels::dropout_backward(b.grad(0), b.dout(), p, key); }
};

// ---- binary: b is repeated over a's leading dimensions ----

Tensor check_repeats(Forward& f, std::string_view name) {
  const Tensor a = f.in(0), b = f.in(1);
  bool fits = b.shape.rank() <= a.shape.rank();
  for (int i = 1; fits && i <= b.shape.rank(); ++i) {
    fits = b.shape[b.shape.rank() - i] == a.shape[a.shape.rank() - i];
  }
  check(fits || b.size() == 1, name, "a is ", a.shape, " but b is ", b.shape,
        "; b must have a's shape, the shape of its last dimensions, or one element");
  return f.out(a.shape);
}

struct Add {
  static constexpr std::string_view name = "add";
  static real f(real a, real b) { return a + b; }
  static real da(real, real) { return 1; }
  static real db(real, real) { return 1; }
};
struct Sub {
  static constexpr std::string_view name = "sub";
  static real f(real a, real b) { return a - b; }
  static real da(real, real) { return 1; }
  static real db(real, real) { return -1; }
};
struct Mul {
  static constexpr std::string_view name = "mul";
  static real f(real a, real b) { return a * b; }
  static real da(real, real b) { return b; }
  static real db(real a, real) { return a; }
};
struct Div {
  static constexpr std::string_view name = "div";
  static real f(real a, real b) { return a / b; }
  static real da(real, real b) { return 1 / b; }
  static real db(real a, real b) { return -a / (b * b); }
};

template <class F>
struct Binary {
  static constexpr std::string_view name = F::name;
  Tensor forward(Forward& f) {
    const Tensor y = check_repeats(f, name), a = f.in(0), b = f.in(1);
    for (std::int64_t at = 0; at < a.size(); at += b.size()) {
      for (std::int64_t i = 0; i < b.size(); ++i) y.data[at + i] = F::f(a.data[at + i], b.data[i]);
    }
    return y;
  }
  void backward(Backward& back) const {
    const Tensor a = back.in(0), b = back.in(1);
    const auto dy = back.dout();
    if (const auto da = back.grad(0); !da.empty()) {
      for (std::int64_t at = 0; at < a.size(); ++at) {
        const auto i = static_cast<std::size_t>(at);
        da[i] += dy[i] * F::da(a.data[at], b.data[at % b.size()]);
      }
    }
    if (const auto db = back.grad(1); !db.empty()) {
      for (std::int64_t at = 0; at < a.size(); ++at) {
        const std::int64_t j = at % b.size();
        db[static_cast<std::size_t>(j)] +=
            dy[static_cast<std::size_t>(at)] * F::db(a.data[at], b.data[j]);
      }
    }
  }
};

/// The residual stream adds the largest tensors of a step, so `add` has its own fast path: the
/// gradient is passed on, not copied.
template <>
struct Binary<Add> {
  static constexpr std::string_view name = Add::name;
  Tensor forward(Forward& f) {
    const Tensor y = check_repeats(f, name), a = f.in(0), b = f.in(1);
    if (a.size() == b.size()) {
      kernels::add(y.flat(), a.flat(), b.flat());
    } else {
      kernels::bias_forward(y.flat(), a.flat(), b.flat(), a.size() / b.size(), b.size());
    }
    return y;
  }
  void backward(Backward& b) const {
    const Tensor a = b.in(0), bias = b.in(1);
    if (a.size() == bias.size()) {
      if (const auto db = b.first_grad(1); db.fresh) {
        kernels::scale(db.values, b.dout(), 1);
      } else {
        kernels::accumulate(db.values, b.dout().first(db.values.size()));
      }
    } else if (b.wants_grad(1)) {
      kernels::bias_backward(b.grad(1), b.dout(), a.size() / bias.size(), bias.size());
    }
    b.pass_dout(0);
  }
};

}  // namespace

Var add(Var a, Var b) { return a.tape().record(Binary<Add>{}, {a, b}); }
Var sub(Var a, Var b) { return a.tape().record(Binary<Sub>{}, {a, b}); }
Var mul(Var a, Var b) { return a.tape().record(Binary<Mul>{}, {a, b}); }
Var div(Var a, Var b) { return a.tape().record(Binary<Div>{}, {a, b}); }
Var scale(Var x, double factor) { return x.tape().record(Scale{factor}, {x}); }
Var exp(Var x) { return x.tape().record(FromOutput<Exp>{}, {x}); }
Var log(Var x) { return x.tape().record(Unary<Log>{}, {x}); }
Var tanh(Var x) { return x.tape().record(FromOutput<Tanh>{}, {x}); }
Var relu(Var x) { return x.tape().record(Unary<Relu>{}, {x}); }
Var sigmoid(Var x) { return x.tape().record(FromOutput<Sigmoid>{}, {x}); }
Var gelu(Var x, Gelu form) { return x.tape().record(GeluOp{form}, {x}); }

Var dropout(Var x, double p) {
  check(p >= 0 && p < 1, "dropout", "p = ", p, " is not in [0, 1)");
  if (p == 0 || x.tape().mode() == Graph::Mode::inference) return x;
  return x.tape().record(Dropout{p}, {x});
}

}  // namespace notch
