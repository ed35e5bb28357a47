#include "quant/ops/changed_input.h"

#include <algorithm>

#include "autograd/base/extents.h"
#include "autograd/ops.h"

namespace notch::quant {

RunnableChange::RunnableChange(const InputChange& change, std::int64_t cols)
    : map{.multiply = change.multiply, .signs = change.signs} {
  if (!change.side) return;
  const SideProduct& side = *change.side;
  if (side.is_sparse()) {
    sparse = side;
    width = cols;
    return;
  }
  const bool fits =
      side.channels.empty()
          ? std::ssize(side.down) == extent("side product", {side.rank, cols})
          : std::ssize(side.channels) == side.rank &&
                std::ranges::all_of(side.channels, [&](auto c) { return c >= 0 && c < cols; });
  check(fits && (side.rank == 0 || std::ssize(side.up) % side.rank == 0), "side product",
        "a rank of ", side.rank, ", ", side.channels.size(), " channels, ", side.down.size(),
        " and ", side.up.size(), " numbers are no product of ", cols, " inputs");
  rank = side.rank;
  up = side.up;
  down = side.down;
  if (side.channels.empty()) return;
  down.assign(static_cast<std::size_t>(rank * cols), 0);
  if (map.multiply.empty()) map.multiply.assign(static_cast<std::size_t>(cols), 1);
  for (std::int64_t i = 0; i < rank; ++i) {
    const std::int64_t c = side.channels[static_cast<std::size_t>(i)];
    down[static_cast<std::size_t>(i * cols + c)] = 1;
    map.multiply[static_cast<std::size_t>(c)] = 0;
  }
}

std::optional<Var> side_product(Var x, const RunnableChange& change) {
  if (const auto& s = change.sparse) {
    return sparse_linear(x, {.starts = s->starts,
                             .columns = s->columns,
                             .values = s->values,
                             .cols = change.width});
  }
  if (change.rank == 0) return std::nullopt;
  const std::int64_t cols = x.value().cols();
  const auto factor = [&](const std::vector<real>& values, std::int64_t rows, std::int64_t width) {
    return x.tape().constant({const_cast<real*>(values.data()), {rows, width}}, "side product");
  };
  const std::int64_t rows = std::ssize(change.up) / change.rank;
  const Var thin = linear(x, factor(change.down, change.rank, cols));
  return linear(thin, factor(change.up, rows, change.rank));
}

}  // namespace notch::quant
