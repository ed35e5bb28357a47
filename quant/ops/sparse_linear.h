// A product with a sparse matrix on the tape: the few weights that a method keeps beside the codes.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/graph.h"

namespace notch::quant {

/// S [rows, cols] by its rows: those of row r are values[starts[r] … starts[r + 1]) in their columns,
/// which ascend.
struct SparseMatrix {
  std::span<const std::int32_t> starts{};  ///< [rows + 1]
  std::span<const std::uint16_t> columns{};
  std::span<const real> values{};
  std::int64_t cols = 0;
  std::int64_t rows() const { return std::ssize(starts) - 1; }
};

/// y [.., rows] = x Sᵀ of x [.., cols]; dx = dy S. S is a constant, and its memory must outlive the
/// step.
Var sparse_linear(Var x, const SparseMatrix& S);

}  // namespace notch::quant
