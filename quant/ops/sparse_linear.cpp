#include "quant/ops/sparse_linear.h"

#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

/// body(row of S, its first value, the one behind its last).
template <class Body>
void for_rows(const SparseMatrix& S, const Body& body) {
  for (std::int64_t r = 0; r < S.rows(); ++r)
    body(static_cast<std::size_t>(r), static_cast<std::size_t>(S.starts[static_cast<std::size_t>(r)]),
         static_cast<std::size_t>(S.starts[static_cast<std::size_t>(r) + 1]));
}

struct SparseLinear {
  static constexpr std::string_view name = "sparse_linear";
  SparseMatrix S;

  Tensor forward(Forward& f) {
    const Tensor x = f.in(0);
    check(x.shape.rank() >= 1 && x.cols() == S.cols, name, "x is ", x.shape, " but S is [",
          S.rows(), ", ", S.cols, "]");
    const Tensor y = f.out(x.shape.with(x.shape.rank() - 1, S.rows()));
    parallel_for(x.rows(), [&](std::int64_t m) {
      const real* const in = x.data + m * S.cols;
      real* const out = y.data + m * S.rows();
      for_rows(S, [&](std::size_t r, std::size_t begin, std::size_t end) {
        real sum = 0;
        for (std::size_t i = begin; i < end; ++i) sum += S.values[i] * in[S.columns[i]];
        out[r] = sum;
      });
    });
    return y;
  }
  void backward(Backward& b) const {
    const std::span<real> dx = b.grad(0);
    if (dx.empty()) return;
    const std::span<const real> dy = b.dout();
    if (S.rows() == 0) return;
    parallel_for(std::ssize(dy) / S.rows(), [&](std::int64_t m) {
      real* const to = dx.data() + m * S.cols;
      const real* const from = dy.data() + m * S.rows();
      for_rows(S, [&](std::size_t r, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) to[S.columns[i]] += S.values[i] * from[r];
      });
    });
  }
};

}  // namespace

Var sparse_linear(Var x, const SparseMatrix& S) {
  return x.tape().record(SparseLinear{S}, {x});
}

}  // namespace notch::quant
