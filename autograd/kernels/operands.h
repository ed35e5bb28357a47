// The operands of a product in memory of the caller (MatmulOf, Bf16Product): what both products check and
// do alike before they multiply.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "autograd/base/extents.h"

namespace notch::kernels {

/// Usage Error unless extents are sizes, there is a pointer to all that is read or written, and rows do
/// not overlap.
template <class Product>
void require_operands(std::string_view where, const Product& m) {
  const bool writes = extent(where, {m.M, m.N}) > 0;
  const bool reads = extent(where, {m.M, m.N, m.K}) > 0;
  check((!writes || m.out) && (!reads || (m.a && m.b)), where, "M = ", m.M, ", N = ", m.N,
        ", K = ", m.K, ", but an operand is missing");
  const auto fits = [](std::int64_t rows, std::int64_t cols, std::int64_t distance) {
    return rows <= 1 || distance >= cols;
  };
  const bool apart = fits(m.M, m.N, m.ld_out) &&
                     (!reads || (fits(m.trans_a ? m.K : m.M, m.trans_a ? m.M : m.K, m.lda) &&
                                 fits(m.trans_b ? m.N : m.K, m.trans_b ? m.K : m.N, m.ldb)));
  check(!writes || apart, where, "rows of the operands lie ", m.ld_out, ", ", m.lda, " and ", m.ldb,
        " apart; M = ", m.M, ", N = ", m.N, ", K = ", m.K);
}

/// The output of a product over no terms: zeros, or the bias, or what was there.
template <class Product>
void write_no_terms(const Product& m) {
  if (m.accumulate) return;
  for (std::int64_t r = 0; r < m.M; ++r) {
    auto* const out = m.out + r * m.ld_out;
    if (m.bias)
      std::copy_n(m.bias, m.N, out);
    else
      std::fill_n(out, m.N, 0);
  }
}

}  // namespace notch::kernels
