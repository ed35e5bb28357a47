#include "quant/kernels/column_update.h"

#include "autograd/base/simd.h"

namespace notch::quant {

NOTCH_CLONES void update_columns(double* W, std::int64_t ldw, const double* Err,
                                 std::int64_t ld_err, const double* U, std::int64_t ldu,
                                 std::int64_t rows, std::int64_t terms, std::int64_t begin,
                                 std::int64_t end) {
  for (std::int64_t j = begin - begin % kUpdateCols; j < end; j += kUpdateCols) {
    for (std::int64_t r = 0; r < rows; r += kUpdateRows) {
      double acc[kUpdateRows][kUpdateCols];
      for (std::int64_t a = 0; a < kUpdateRows; ++a) {
        for (std::int64_t l = 0; l < kUpdateCols; ++l) acc[a][l] = W[(r + a) * ldw + j + l];
      }
      for (std::int64_t i = 0; i < terms; ++i) {
        const double* u = U + i * ldu + j;
        for (std::int64_t a = 0; a < kUpdateRows; ++a) {
          const double err = Err[(r + a) * ld_err + i];
          for (std::int64_t l = 0; l < kUpdateCols; ++l) acc[a][l] -= err * u[l];
        }
      }
      for (std::int64_t a = 0; a < kUpdateRows; ++a) {
        for (std::int64_t l = 0; l < kUpdateCols; ++l) W[(r + a) * ldw + j + l] = acc[a][l];
      }
    }
  }
}

NOTCH_CLONES void update_row(double* w, double err, const double* u, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) w[j] -= err * u[j];
}

}  // namespace notch::quant
