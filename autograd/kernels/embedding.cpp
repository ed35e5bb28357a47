#include "autograd/kernels/embedding.h"

#include <algorithm>

#include "autograd/kernels/chunks.h"

namespace notch::kernels {

using Index = std::int64_t;

void embedding_forward(std::span<real> out, std::span<const real> table,
                       std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  for_rows(n, C, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i)
      std::copy_n(table.data() + ids[static_cast<std::size_t>(i)] * C, C, out.data() + i * C);
  });
}

void embedding_backward(std::span<real> dtable, std::span<const real> dout,
                        std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  constexpr Index kCols = 64;
  parallel_for((C + kCols - 1) / kCols, [&](Index tile) {
    const Index first = tile * kCols, cols = std::min(kCols, C - first);
    for (Index i = 0; i < n; ++i) {
      // out[i] = table[ids[i]]
      real* d = dtable.data() + ids[static_cast<std::size_t>(i)] * C + first;
      const real* g = dout.data() + i * C + first;
      for (Index c = 0; c < cols; ++c) d[c] += g[c];
    }
  });
}

void token_position_forward(std::span<real> out, std::span<const real> wte,
                            std::span<const real> wpe, std::span<const std::int32_t> ids,
                            std::int64_t B, std::int64_t T, std::int64_t C, std::int64_t position) {
  for_rows(B * T, C, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const real* token = wte.data() + ids[static_cast<std::size_t>(i)] * C;
      const real* place = wpe.data() + (position + i % T) * C;
      real* o = out.data() + i * C;
      for (Index c = 0; c < C; ++c) o[c] = token[c] + place[c];
    }
  });
}

void batch_sum_backward(std::span<real> drows, std::span<const real> dout, std::int64_t B,
                        std::int64_t T, std::int64_t C) {
  for_rows(T, B * C, [&](Index first, Index last) {
    for (Index t = first; t < last; ++t)
      for (Index b = 0; b < B; ++b) {
        // out[b, t] = ... + rows[t]
        real* d = drows.data() + t * C;
        const real* g = dout.data() + (b * T + t) * C;
        for (Index c = 0; c < C; ++c) d[c] += g[c];
      }
  });
}

}  // namespace notch::kernels
