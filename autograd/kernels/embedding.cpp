#include "autograd/kernels/embedding.h"

#include <algorithm>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/kernels/chunks.h"
#include "autograd/kernels/lanes.h"

namespace notch::kernels {
namespace {

/// dtable[ids[i]] += dout[i] for all i, on `cols` columns of rows that are C apart.
NOTCH_VECTOR(void, scatter_columns, real* dtable, const real* dout, const std::int32_t* ids,
             Index n, Index cols, Index C) {
  for (Index i = 0; i < n; ++i) {
    real* d = dtable + ids[i] * C;
    const real* g = dout + i * C;
    for (Index c = 0; c < cols; ++c) d[c] += g[c];
  }
}

/// Every id is a row of a table of C columns.
void require_rows(std::string_view where, std::span<const real> table,
                  std::span<const std::int32_t> ids, Index C) {
  const Index rows = C > 0 ? std::ssize(table) / C : 0;
  for (const std::int32_t id : ids) {
    check(id >= 0 && (C == 0 || id < rows), where, "id ", id, " is not in [0, ", rows, ")");
  }
}

}  // namespace

void embedding_forward(std::span<real> out, std::span<const real> table,
                       std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  require_extent("embedding", extent("embedding", {n, C}), out);
  require_extent("embedding", n, ids);
  require_rows("embedding", table, ids.first(static_cast<std::size_t>(n)), C);
  for_rows(n, C, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i)
      std::copy_n(table.data() + ids[static_cast<std::size_t>(i)] * C, C, out.data() + i * C);
  });
}

void embedding_backward(std::span<real> dtable, std::span<const real> dout,
                        std::span<const std::int32_t> ids, std::int64_t n, std::int64_t C) {
  require_extent("embedding backward", extent("embedding backward", {n, C}), dout);
  require_extent("embedding backward", n, ids);
  require_rows("embedding backward", dtable, ids.first(static_cast<std::size_t>(n)), C);
  // out[i] = table[ids[i]]. Tiles of columns: two rows with the same id never meet in two threads.
  constexpr Index kCols = 64;
  parallel_for(quotient_up(C, kCols), [&](Index tile) {
    const Index first = tile * kCols;
    scatter_columns(dtable.data() + first, dout.data() + first, ids.data(), n,
                    std::min(kCols, C - first), C);
  });
}

}  // namespace notch::kernels
