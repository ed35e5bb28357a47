// Matrix products.

#include <algorithm>

#include "autograd/kernels/blas.h"
#include "autograd/ops.h"

namespace notch {
namespace {

struct Matmul {
  static constexpr std::string_view name = "matmul";
  std::int64_t batches = 1, M = 0, N = 0, K = 0;

  std::span<real> part(const Tensor& t, std::int64_t i, std::int64_t n) const {
    return t.flat().subspan(static_cast<std::size_t>(i * n), static_cast<std::size_t>(n));
  }
  Tensor forward(Forward& f) {
    const Tensor a = f.in(0), b = f.in(1);
    const int rank = b.shape.rank();
    check(a.shape.rank() >= 2 &&
              (rank == 2 || (rank == 3 && a.shape.rank() == 3 && a.shape[0] == b.shape[0])) &&
              a.cols() == b.shape[rank - 2],
          name, "a is ", a.shape, " and b is ", b.shape,
          "; wanted a [.., M, K] and b [K, N], or a [B, M, K] and b [B, K, N]");
    K = a.cols();
    N = b.cols();
    batches = rank == 3 ? b.shape[0] : 1;
    const Tensor y = f.out(a.shape.with(a.shape.rank() - 1, N));
    M = rank == 3 ? a.shape[1] : y.rows();  // rows of nothing are rows of zeros
    for (std::int64_t i = 0; i < batches; ++i) {
      kernels::gemm(part(y, i, M * N), part(a, i, M * K), part(b, i, K * N), M, N, K);
    }
    return y;
  }
  void backward(Backward& back) const {
    const Tensor a = back.in(0), b = back.in(1);
    const auto dy = back.dout();
    const auto da = back.grad(0), db = back.grad(1);
    const auto at = [](auto s, std::int64_t i, std::int64_t n) {
      return s.subspan(static_cast<std::size_t>(i * n), static_cast<std::size_t>(n));
    };
    for (std::int64_t i = 0; i < batches; ++i) {
      // y = a b, so da += dy bᵀ and db += aᵀ dy
      if (!da.empty()) {
        kernels::gemm(at(da, i, M * K), at(dy, i, M * N), part(b, i, K * N), M, K, N,
                      {.trans_b = true, .accumulate = true});
      }
      if (!db.empty()) {
        kernels::gemm(at(db, i, K * N), part(a, i, M * K), at(dy, i, M * N), K, N, M,
                      {.trans_a = true, .accumulate = true});
      }
    }
  }
};

struct Linear {
  static constexpr std::string_view name = "linear";
  bool has_bias;
  Tensor forward(Forward& f) {
    const Tensor x = f.in(0), w = f.in(1);
    check(w.shape.rank() == 2 && x.shape.rank() >= 1 && x.cols() == w.cols(), name, "x is ",
          x.shape, " but w is ", w.shape,
          "; x's last dimension must equal w's second (in_features)");
    const std::int64_t N = w.shape[0];
    check(!has_bias || f.in(2).size() == N, name, "w is ", w.shape, " but the bias is ",
          has_bias ? f.in(2).shape : Shape{});
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, N));
    kernels::linear_forward(y.flat(), x.flat(), w.flat(),
                            has_bias ? f.in(2).flat() : std::span<real>{}, y.rows(), N, x.cols(),
                            f.precision());
    return y;
  }
  void backward(Backward& b) const {
    const Tensor x = b.in(0), w = b.in(1);
    const auto dx = b.first_grad(0), dw = b.first_grad(1);
    const std::int64_t M = std::max(x.rows(), b.out().rows());  // an empty axis has none
    kernels::linear_backward(dx.values, dw.values, has_bias ? b.grad(2) : std::span<real>{},
                             b.dout(), x.flat(), w.flat(), M, w.shape[0], x.cols(),
                             {.dx = dx.fresh, .dw = dw.fresh}, b.precision());
  }
};

}  // namespace

Var matmul(Var a, Var b) { return a.tape().record(Matmul{}, {a, b}); }

Var linear(Var x, Var w, std::optional<Var> bias) {
  if (bias) return x.tape().record(Linear{true}, {x, w, *bias});
  return x.tape().record(Linear{false}, {x, w});
}

}  // namespace notch
