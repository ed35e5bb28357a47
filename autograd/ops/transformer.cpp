// The ops of a transformer block: normalization, lookup, positions, causal attention, gate.

#include <algorithm>

#include "autograd/kernels/activation.h"
#include "autograd/kernels/attention.h"
#include "autograd/kernels/embedding.h"
#include "autograd/kernels/norm.h"
#include "autograd/kernels/rotary.h"
#include "autograd/ops.h"

namespace notch {
namespace {

struct LayerNorm {
  static constexpr std::string_view name = "layernorm";
  double eps;
  bool has_beta;
  std::span<real> mean{}, rstd{};  // [rows], kept for backward
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), gamma = f.in(1);
    check(gamma.size() == x.cols() && (!has_beta || f.in(2).size() == x.cols()), name, "x is ",
          x.shape, " but gamma is ", gamma.shape, has_beta ? " and beta " : "",
          has_beta ? f.in(2).shape : Shape{});
    mean = f.keep(x.rows());
    rstd = f.keep(x.rows());
    const Tensor y = f.out(x.shape);
    kernels::layernorm_forward(y.flat(), mean, rstd, x.flat(), gamma.flat(),
                               has_beta ? f.in(2).flat() : std::span<real>{}, x.rows(), x.cols(),
                               eps);
    return y;
  }
  Tensor recompute(Forward& f) const {
    const Tensor x = f.in(0), y = f.out(x.shape);
    kernels::layernorm_again(y.flat(), x.flat(), f.in(1).flat(),
                             has_beta ? f.in(2).flat() : std::span<real>{}, mean, rstd, x.rows(),
                             x.cols());
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    kernels::layernorm_backward(
        b.grad(0), b.grad(1), has_beta ? b.grad(2) : std::span<real>{}, b.dout(), x.flat(),
        b.in(1).flat(), mean, rstd, x.rows(), x.cols(),
        b.scratch(kernels::layernorm_backward_workspace(x.rows(), x.cols())));
  }
};

struct RmsNorm {
  static constexpr std::string_view name = "rmsnorm";
  double eps;
  std::span<real> rstd{};  // [rows], kept for backward
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), gamma = f.in(1);
    check(gamma.size() == x.cols(), name, "x is ", x.shape, " but gamma is ", gamma.shape);
    rstd = f.keep(x.rows());
    const Tensor y = f.out(x.shape);
    kernels::rmsnorm_forward(y.flat(), rstd, x.flat(), gamma.flat(), x.rows(), x.cols(), eps);
    return y;
  }
  Tensor recompute(Forward& f) const {
    const Tensor x = f.in(0), y = f.out(x.shape);
    kernels::rmsnorm_again(y.flat(), x.flat(), f.in(1).flat(), rstd, x.rows(), x.cols());
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0);
    kernels::rmsnorm_backward(b.grad(0), b.grad(1), b.dout(), x.flat(), b.in(1).flat(), rstd,
                              x.rows(), x.cols(),
                              b.scratch(kernels::layernorm_backward_workspace(x.rows(), x.cols())));
  }
};

struct Rotary {
  static constexpr std::string_view name = "rotary";
  Tensor table;  // the rows of the positions
  kernels::RotaryShape shape{};
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    shape.HS = table.cols();
    check(x.shape.rank() == 3 && shape.HS % 2 == 0 && x.cols() % shape.HS == 0, name, "x is ",
          x.shape, "; wanted [B, T, H · ", shape.HS, "], an even number of channels per head");
    shape.B = x.shape[0];
    shape.T = x.shape[1];
    shape.H = x.cols() / shape.HS;
    check(shape.T <= table.rows(), name, "x is ", x.shape, " but the table has ", table.rows(),
          " positions left");
    const Tensor y = f.out(x.shape);
    kernels::rotary_forward(y.flat(), x.flat(), table.flat(), shape);
    return y;
  }
  void backward(Backward& b) const {
    if (b.wants_grad(0)) kernels::rotary_backward(b.grad(0), b.dout(), table.flat(), shape);
  }
};

struct SwiGlu {
  static constexpr std::string_view name = "swiglu";
  Tensor recompute(Forward& f) const {
    const Tensor gate = f.in(0), up = f.in(1), y = f.out(gate.shape);
    kernels::swiglu_forward(y.flat(), gate.flat(), up.flat());
    return y;
  }
  Tensor forward(Forward& f) {
    check(f.in(0).shape == f.in(1).shape, name, "gate is ", f.in(0).shape, " but up is ",
          f.in(1).shape);
    return recompute(f);
  }
  void backward(Backward& b) const {
    kernels::swiglu_backward(b.grad(0), b.grad(1), b.dout(), b.in(0).flat(), b.in(1).flat());
  }
};

struct Embedding {
  static constexpr std::string_view name = "embedding";
  std::span<const std::int32_t> ids;  // the caller's in forward, a kept copy afterwards
  std::int64_t B, T;
  Tensor forward(Forward& f) {
    const Tensor table = f.in(0);
    check(table.shape.rank() == 2, name, "the table is ", table.shape, "; wanted [V, C]");
    check(std::ssize(ids) == Shape{B, T}.size() && (ids.data() || ids.empty()), name, ids.size(),
          " ids for [", B, ", ", T, "]");
    const auto bad =
        std::ranges::find_if(ids, [&](std::int32_t id) { return id < 0 || id >= table.shape[0]; });
    check(bad == ids.end(), name, "id ", bad == ids.end() ? 0 : *bad, " at position ",
          bad - ids.begin(), " is not in [0, ", table.shape[0], ")");
    const auto copy = f.keep<std::int32_t>(B * T);
    std::ranges::copy(ids, copy.begin());
    ids = copy;
    const Tensor y = f.out({B, T, table.cols()});
    kernels::embedding_forward(y.flat(), table.flat(), ids, B * T, table.cols());
    return y;
  }
  void backward(Backward& b) const {
    if (!b.wants_grad(0)) return;
    kernels::embedding_backward(b.grad(0), b.dout(), ids, B * T, b.in(0).cols());
  }
};

struct CausalAttention {
  static constexpr std::string_view name = "causal_attention";
  kernels::AttentionShape shape;
  std::span<real> lse{};  // [B, NH, T], kept for backward
  Tensor forward(Forward& f) {
    const Tensor qkv = f.in(0);
    check(qkv.shape.rank() == 3 && qkv.cols() > 0 && qkv.cols() % (3 * shape.NH) == 0, name,
          "qkv is ", qkv.shape, "; wanted [B, T, 3C] with C a multiple of n_head = ", shape.NH);
    shape.B = qkv.shape[0];
    shape.T = qkv.shape[1];
    shape.HS = qkv.cols() / (3 * shape.NH);
    shape.dropout_key = f.key();
    if (!f.training()) shape.dropout = 0;
    lse = f.keep(shape.B * shape.NH * shape.T);
    const Tensor y = f.out(qkv.shape.with(2, qkv.cols() / 3));
    kernels::attention_forward(y.flat(), lse, packed(qkv), shape,
                               f.scratch(kernels::attention_workspace(shape)));
    return y;
  }
  void backward(Backward& b) const {
    const auto dqkv = b.first_grad(0);
    if (dqkv.values.empty()) return;
    kernels::attention_backward(kernels::packed_qkv(dqkv.values, shape.NH * shape.HS), b.dout(),
                                packed(b.in(0)), b.out().flat(), lse, shape,
                                b.scratch(kernels::attention_workspace(shape)), dqkv.fresh);
  }
  kernels::Qkv packed(const Tensor& qkv) const {
    return kernels::packed_qkv(std::span<const real>(qkv.flat()), shape.NH * shape.HS);
  }
};

struct GroupedAttention {
  static constexpr std::string_view name = "causal_attention";
  kernels::AttentionShape shape;
  std::span<real> lse{};  // [B, NH, T], kept for backward
  Tensor forward(Forward& f) {
    const Tensor q = f.in(0), k = f.in(1), v = f.in(2);
    check(q.shape.rank() == 3 && q.cols() > 0 && q.cols() % shape.NH == 0, name, "q is ", q.shape,
          "; wanted [B, T, C] with C a multiple of n_head = ", shape.NH);
    shape.B = q.shape[0];
    shape.T = q.shape[1];
    shape.HS = q.cols() / shape.NH;
    shape.KV = std::max<std::int64_t>(1, k.cols() / shape.HS);
    check(k.shape == v.shape && k.shape == q.shape.with(2, shape.KV * shape.HS) &&
              shape.NH % shape.KV == 0,
          name, "q is ", q.shape, ", k ", k.shape, " and v ", v.shape, "; wanted k and v [",
          shape.B, ", ", shape.T, ", KV · ", shape.HS,
          "] with KV a divisor of n_head = ", shape.NH);
    shape.dropout_key = f.key();
    if (!f.training()) shape.dropout = 0;
    lse = f.keep(shape.B * shape.NH * shape.T);
    const Tensor y = f.out(q.shape);
    kernels::attention_forward(y.flat(), lse, rows(q, k, v), shape,
                               f.scratch(kernels::attention_workspace(shape)));
    return y;
  }
  void backward(Backward& b) const {
    kernels::attention_backward({b.grad(0), b.grad(1), b.grad(2), row(), kv_row()}, b.dout(),
                                rows(b.in(0), b.in(1), b.in(2)), b.out().flat(), lse, shape,
                                b.scratch(kernels::attention_workspace(shape)));
  }
  std::int64_t row() const { return shape.NH * shape.HS; }
  std::int64_t kv_row() const { return shape.KV * shape.HS; }
  kernels::Qkv rows(const Tensor& q, const Tensor& k, const Tensor& v) const {
    return {q.flat(), k.flat(), v.flat(), row(), kv_row()};
  }
};

void check_attention(int n_head, double dropout) {
  check(n_head > 0, "causal_attention", "n_head = ", n_head);
  check(dropout >= 0 && dropout < 1, "causal_attention", "dropout = ", dropout,
        " is not in [0, 1)");
}

}  // namespace

Var layernorm(Var x, Var gamma, std::optional<Var> beta, double eps) {
  if (beta) return x.tape().record(LayerNorm{eps, true}, {x, gamma, *beta});
  return x.tape().record(LayerNorm{eps, false}, {x, gamma});
}

Var rmsnorm(Var x, Var gamma, double eps) { return x.tape().record(RmsNorm{eps}, {x, gamma}); }

Var rotary(Var x, const Tensor& table, std::int64_t first) {
  check(table.shape.rank() == 2 && first >= 0 && first < table.rows(), "rotary", "position ", first,
        " of a table ", table.shape);
  const std::int64_t HS = table.cols();
  return x.tape().record(Rotary{{table.data + first * HS, {table.rows() - first, HS}}}, {x});
}

Var swiglu(Var gate, Var up) { return gate.tape().record(SwiGlu{}, {gate, up}); }

Var embedding(Var table, std::span<const std::int32_t> ids, std::int64_t B, std::int64_t T) {
  return table.tape().record(Embedding{ids, B, T}, {table});
}

Var causal_attention(Var qkv, int n_head, double dropout) {
  check_attention(n_head, dropout);
  return qkv.tape().record(CausalAttention{{.NH = n_head, .dropout = dropout}}, {qkv});
}

Var causal_attention(Var q, Var k, Var v, int n_head, double dropout) {
  check_attention(n_head, dropout);
  return q.tape().record(GroupedAttention{{.NH = n_head, .dropout = dropout}}, {q, k, v});
}

}  // namespace notch
