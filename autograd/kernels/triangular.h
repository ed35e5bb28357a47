// What a blocked Cholesky factorization needs of its tiles, in portable arithmetic
// (base/arithmetic.h), where LAPACK and BLAS are not asked. Each in this thread; row-major, lower
// triangles; what lies above a diagonal is neither read nor written.
//
// Every element is a value minus a dot product over ascending k, divided by the diagonal (Golub and
// Van Loan, Matrix Computations, 4th ed., algorithms 3.1.1, 3.1.2 and 4.2.1 by rows). The dot product
// has 16 lanes: lane l adds k = l, l + 16, …, then lanes l and l + 8 are added, l + 4, l + 2, l + 1.
#pragma once

#include <cstdint>

namespace notch::kernels {

/// a = L Lᵀ in place, [N, N]. 0, or i > 0 when the leading minor of order i is not positive.
int factor_lower(double* a, std::int64_t N, std::int64_t ld);

/// x [M, N] = x L⁻ᵀ, one row after the other.
void divide_by_transpose(double* x, std::int64_t ldx, std::int64_t M, const double* l,
                         std::int64_t ld, std::int64_t N);
/// x [M, N] = x L⁻¹.
void divide_by(double* x, std::int64_t ldx, std::int64_t M, const double* l, std::int64_t ld,
               std::int64_t N);

/// out [M, N] -= a [M, K] · b [N, K]ᵀ by matmul.h; `lower`: of M = N only the lower triangle.
void subtract_product(double* out, std::int64_t ld_out, const double* a, const double* b,
                      std::int64_t ld, std::int64_t M, std::int64_t N, std::int64_t K, bool lower);

}  // namespace notch::kernels
