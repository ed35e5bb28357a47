#include "quant/kernels/column_update.h"

#include <algorithm>

#include "autograd/base/simd.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kTerms = 4;   // terms per pass over a piece of W
constexpr std::int64_t kTile = 256;  // columns: a piece of 16 rows of W stays in the L1 cache

}  // namespace

NOTCH_CLONES void update_row(double* __restrict w, double err, const double* __restrict u,
                             std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) w[j] -= err * u[j];
}

NOTCH_CLONES void update_columns(double* W, std::int64_t ldw, const double* Err,
                                 std::int64_t ld_err, const double* U, std::int64_t ldu,
                                 std::int64_t rows, std::int64_t terms, std::int64_t cols) {
  for (std::int64_t begin = 0; begin < cols; begin += kTile) {
    const std::int64_t n = std::min(kTile, cols - begin);
    std::int64_t i = 0;
    for (; i + kTerms <= terms; i += kTerms) {
      const double* __restrict u = U + i * ldu + begin;
      for (std::int64_t r = 0; r < rows; ++r) {
        const double* err = Err + r * ld_err + i;
        const double e0 = err[0], e1 = err[1], e2 = err[2], e3 = err[3];
        double* __restrict w = W + r * ldw + begin;
        for (std::int64_t j = 0; j < n; ++j) {
          double v = w[j] - e0 * u[j];
          v -= e1 * u[ldu + j];
          v -= e2 * u[2 * ldu + j];
          v -= e3 * u[3 * ldu + j];
          w[j] = v;
        }
      }
    }
    for (; i < terms; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        update_row(W + r * ldw + begin, Err[r * ld_err + i], U + i * ldu + begin, n);
      }
    }
  }
}

}  // namespace notch::quant
