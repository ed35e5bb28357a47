// The ops of a transformer block: layer normalization, lookup, causal attention.

#include <algorithm>

#include "autograd/kernels/attention.h"
#include "autograd/kernels/embedding.h"
#include "autograd/kernels/norm.h"
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

struct Embedding {
  static constexpr std::string_view name = "embedding";
  std::span<const std::int32_t> ids;  // the caller's in forward, a kept copy afterwards
  std::int64_t B, T;
  Tensor forward(Forward& f) {
    const Tensor table = f.in(0);
    check(table.shape.rank() == 2, name, "the table is ", table.shape, "; wanted [V, C]");
    check(static_cast<std::int64_t>(ids.size()) == B * T, name, ids.size(), " ids for [", B, ", ",
          T, "]");
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
    check(qkv.shape.rank() == 3 && qkv.cols() % (3 * shape.NH) == 0, name, "qkv is ", qkv.shape,
          "; wanted [B, T, 3C] with C a multiple of n_head = ", shape.NH);
    shape.B = qkv.shape[0];
    shape.T = qkv.shape[1];
    shape.HS = qkv.cols() / (3 * shape.NH);
    shape.dropout_key = f.key();
    if (!f.training()) shape.dropout = 0;
    lse = f.keep(shape.B * shape.NH * shape.T);
    const Tensor y = f.out(qkv.shape.with(2, qkv.cols() / 3));
    kernels::attention_forward(y.flat(), lse, qkv.flat(), shape,
                               f.scratch(kernels::attention_workspace(shape)));
    return y;
  }
  void backward(Backward& b) const {
    const auto dqkv = b.first_grad(0);
    if (dqkv.values.empty()) return;
    kernels::attention_backward(dqkv.values, b.dout(), b.in(0).flat(), b.out().flat(), lse, shape,
                                b.scratch(kernels::attention_workspace(shape)), dqkv.fresh);
  }
};

}  // namespace

Var layernorm(Var x, Var gamma, std::optional<Var> beta, double eps) {
  if (beta) return x.tape().record(LayerNorm{eps, true}, {x, gamma, *beta});
  return x.tape().record(LayerNorm{eps, false}, {x, gamma});
}

Var embedding(Var table, std::span<const std::int32_t> ids, std::int64_t B, std::int64_t T) {
  return table.tape().record(Embedding{ids, B, T}, {table});
}

Var causal_attention(Var qkv, int n_head, double dropout) {
  check(n_head > 0, "causal_attention", "n_head = ", n_head);
  check(dropout >= 0 && dropout < 1, "causal_attention", "dropout = ", dropout,
        " is not in [0, 1)");
  return qkv.tape().record(CausalAttention{{.NH = n_head, .dropout = dropout}}, {qkv});
}

}  // namespace notch
