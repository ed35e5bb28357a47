// The update of GPTQ's sweep: W -= Err · U, with the additions in ascending order of columns.
//
// A matrix product from a library would add the terms of a block first and subtract their sum; here
// every term is subtracted from W on its own, in the order in which columns were rounded. That
// makes the result the same for every block size, and it costs little: the loops are vectorised
// over the columns of W, not over the terms.
#pragma once

#include <cstdint>

namespace notch::quant {

/// W[r, j] -= Err[r, i] · U[i, j] for r in [0, rows), i in [0, terms) ascending, j in [0, cols).
/// ldw, ld_err, ldu are the distances between rows. No contraction. Serial.
void update_columns(double* W, std::int64_t ldw, const double* Err, std::int64_t ld_err,
                    const double* U, std::int64_t ldu, std::int64_t rows, std::int64_t terms,
                    std::int64_t cols);

/// w[j] -= err · u[j] for j in [0, n): the same for one row and one term.
void update_row(double* w, double err, const double* u, std::int64_t n);

}  // namespace notch::quant
