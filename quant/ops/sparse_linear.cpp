#include "quant/ops/sparse_linear.h"

#include <algorithm>

#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kTileRows = 256;  // of S, of a parallel tile

/// body(row of S, its first value, the one behind its last) for rows [first, end).
template <class Body>
void for_rows(const SparseMatrix& S, std::int64_t first, std::int64_t end, const Body& body) {
  for (std::int64_t r = first; r < end; ++r)
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
    // One token is one row of x: rows of S are cut as well.
    const std::int64_t parts = quotient_up(S.rows(), kTileRows);
    parallel_for(x.rows() * parts, [&](std::int64_t tile) {
      const std::int64_t m = tile / parts, first = tile % parts * kTileRows;
      const real* const in = x.data + m * S.cols;
      real* const out = y.data + m * S.rows();
      const std::int64_t last = std::min(S.rows(), first + kTileRows);
      for_rows(S, first, last, [&](std::size_t r, std::size_t begin, std::size_t end) {
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
      for_rows(S, 0, S.rows(), [&](std::size_t r, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) to[S.columns[i]] += S.values[i] * from[r];
      });
    });
  }
};

}  // namespace

Var sparse_linear(Var x, const SparseMatrix& S) {
  const auto n = std::ssize(S.values);
  check(!S.starts.empty() && S.starts.front() >= 0 && S.starts.back() <= n &&
            std::ranges::is_sorted(S.starts) && std::ssize(S.columns) == n &&
            std::ranges::all_of(S.columns, [&](std::int64_t c) { return c < S.cols; }),
        "sparse_linear", n, " values in ", S.columns.size(), " columns, cut at ", S.starts.size(),
        " places, are no matrix of ", S.cols, " columns");
  return x.tape().record(SparseLinear{S}, {x});
}

}  // namespace notch::quant
