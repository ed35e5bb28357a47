// A quantized matrix as inference holds it: repacked for the kernels (quant/kernels/packed.h), with
// its memory, and the two ways a model uses it on the tape.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "autograd/graph.h"
#include "nn/hooks.h"
#include "quant/kernels/packed.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

StoredScale stored_scale(ScaleType type);
/// Bits of a code in memory. Odd codes are held as they are, with a bit more; a codebook's in 4.
int held_bits(const Spec& spec);

class PackedMatrix {
 public:
  /// Memory for a matrix whose codes come piece by piece. One scale per tensor is kept once per
  /// row.
  PackedMatrix(const Spec& spec, std::int64_t rows, std::int64_t cols);
  explicit PackedMatrix(const QTensor& q);

  /// Pieces start at a multiple of this many rows.
  static constexpr std::int64_t kRowStep = 1;
  /// Rows from `first_row` on, a matrix of the same spec and width. Parallel.
  void set_rows(std::int64_t first_row, const QTensor& part);

  const Spec& spec() const { return spec_; }
  const PackedRows& rows() const { return rows_; }
  std::int64_t bytes() const;  ///< of memory

 private:
  Spec spec_;
  FlatBlock codes_;
  std::vector<std::byte> scales_;
  std::vector<std::int8_t> zeros_;
  std::vector<float> levels_;
  PackedRows rows_;
};

/// Rows of x up to which codes are unpacked in registers, four rows of x at a time; beyond, pieces
/// of the matrix are dequantized and multiplied by gemm.
inline constexpr std::int64_t kPackedRows = 16;

/// y = x ŵᵀ + bias: x [.., K], bias [N] -> [.., N]. Inference only; `w` must outlive the step. Up
/// to kPackedRows rows the numerics are those of quant/kernels/packed.h, whatever the other rows
/// are.
Var packed_product(Var x, std::optional<Var> bias, const PackedMatrix& w);

/// Dequantized rows of a table [V, C] -> [B, T, C]. Inference only.
Var packed_lookup(Graph& g, const nn::Tokens& tokens, const PackedMatrix& table);

}  // namespace notch::quant
