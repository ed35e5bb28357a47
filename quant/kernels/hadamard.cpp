#include "quant/kernels/hadamard.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/index.h"
#include "autograd/base/simd.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

/// x := H x / √n.
NOTCH_CLONES void transform_block(real* x, std::int64_t n) {
  for (std::int64_t half = 1; half < n; half *= 2) {
    for (std::int64_t first = 0; first < n; first += 2 * half) {
      real* const a = x + first;
      real* const b = a + half;
      for (std::int64_t i = 0; i < half; ++i) {
        const real sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
      }
    }
  }
  const real factor = 1 / std::sqrt(static_cast<real>(n));
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

/// signs ∘ before the blocks, or after them.
void rotate(std::span<real> x, std::span<const std::int8_t> signs, bool back) {
  const std::int64_t cols = std::ssize(signs), rows = cols == 0 ? 0 : std::ssize(x) / cols;
  check(rows * cols == std::ssize(x), "rotation", x.size(), " values are no rows of ", cols,
        " channels, as many as there are signs");
  check(x.empty() || (x.data() && signs.data()), "rotation", "values or signs are null");
  const std::int64_t block = hadamard_block(cols);
  constexpr std::int64_t kTile = 16384;
  const std::int64_t run = std::max<std::int64_t>(1, kTile / std::max<std::int64_t>(1, cols));
  parallel_for(quotient_up(rows, run), [&](std::int64_t tile) {
    for (std::int64_t r = tile * run; r < std::min(rows, (tile + 1) * run); ++r) {
      real* const row = x.data() + r * cols;
      const auto flip = [&] {
        for (std::int64_t j = 0; j < cols; ++j) row[j] *= static_cast<real>(signs.data()[j]);
      };
      if (!back) flip();
      for (std::int64_t j = 0; j < cols; j += block) transform_block(row + j, block);
      if (back) flip();
    }
  });
}

}  // namespace

std::int64_t hadamard_block(std::int64_t cols) {
  return cols <= 0 ? 1 : std::int64_t{1} << std::countr_zero(static_cast<std::uint64_t>(cols));
}

void rotate_rows(std::span<real> x, std::span<const std::int8_t> signs) { rotate(x, signs, false); }

void rotate_rows_back(std::span<real> x, std::span<const std::int8_t> signs) {
  rotate(x, signs, true);
}

}  // namespace notch::quant
