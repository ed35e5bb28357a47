#include "autograd/kernels/embedding.h"

#include <algorithm>

#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

using Index = std::int64_t;

NOTCH_VECTOR void add_rows(real* out, const real* a, const real* b, Index n) {
  for (Index i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

/// dtable[ids[i]] += dout[i] for all i, on `cols` columns of rows that are C apart.
NOTCH_VECTOR void scatter_columns(real* dtable, const real* dout, const std::int32_t* ids, Index n,
                                  Index cols, Index C) {
  for (Index i = 0; i < n; ++i) {
    real* d = dtable + ids[i] * C;
    const real* g = dout + i * C;
    for (Index c = 0; c < cols; ++c) d[c] += g[c];
  }
}

}  // namespace

void embedding_forward(std::span<real> out, std::span<const real> table,
                       std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  for_rows(n, C, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i)
      std::copy_n(table.data() + ids[static_cast<std::size_t>(i)] * C, C, out.data() + i * C);
  });
}

void embedding_backward(std::span<real> dtable, std::span<const real> dout,
                        std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  // out[i] = table[ids[i]]. Tiles of columns: two rows with the same id never meet in two threads.
  constexpr Index kCols = 64;
  parallel_for((C + kCols - 1) / kCols, [&](Index tile) {
    const Index first = tile * kCols;
    scatter_columns(dtable.data() + first, dout.data() + first, ids.data(), n,
                    std::min(kCols, C - first), C);
  });
}

void token_position_forward(std::span<real> out, std::span<const real> wte,
                            std::span<const real> wpe, std::span<const std::int32_t> ids,
                            std::int64_t B, std::int64_t T, std::int64_t C, std::int64_t first) {
  for_rows(B * T, C, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      add_rows(out.data() + i * C, wte.data() + ids.data()[i] * C, wpe.data() + (first + i % T) * C,
               C);
  });
}

void batch_sum_backward(std::span<real> drows, std::span<const real> dout, std::int64_t B,
                        std::int64_t T, std::int64_t C) {
  for_rows(T, B * C, [&](Index first, Index last) {
    for (Index t = first; t < last; ++t)
      for (Index b = 0; b < B; ++b) {
        // out[b, t] = ... + rows[t]
        real* d = drows.data() + t * C;
        add_rows(d, d, dout.data() + (b * T + t) * C, C);
      }
  });
}

}  // namespace notch::kernels
