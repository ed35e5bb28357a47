// ServedLanes: a weight matrix of a loaded model as floats are multiplied with it, repacked for the
// kernels of quant/kernels/packed.h. For codebooks, whose levels are no integers, those of every unit's own
// included, and for units that panels would fill up with zeros.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/graph.h"
#include "quant/kernels/packed.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

StoredScale stored_scale(ScaleType type);
/// Bits of a code in lanes. Odd codes are held as they are, with a bit more; a codebook of at
/// most kMostLevels levels has 4.
int held_bits(const Spec& spec);

class ServedLanes {
 public:
  /// Memory for a matrix whose codes come piece by piece. One scale per tensor is kept once per
  /// row.
  ServedLanes(const Spec& spec, std::int64_t rows, std::int64_t cols);
  explicit ServedLanes(const QTensor& q);

  /// Rows from `first_row` on, a matrix of the same spec and width. Parallel.
  void set_rows(std::int64_t first_row, const QTensor& part);

  /// y [M, rows] = x [M, cols] ŵᵀ + bias (or empty for none), with the numerics of packed.h. For few
  /// rows: each passes over all weights. Parallel.
  void multiply(const Forward& f, std::span<float> y, std::span<const float> x,
                std::span<const float> bias, std::int64_t M) const;
  void dequantize_row(std::span<float> out, std::int64_t row) const;
  std::int64_t bytes() const;  ///< of memory
  /// The same before there is any.
  static std::int64_t bytes(const Spec& spec, std::int64_t rows, std::int64_t cols);

 private:
  void set_levels(std::int64_t first_row, const QTensor& part);

  Spec spec_;
  FlatBlock codes_;
  std::vector<std::byte> scales_;
  std::vector<std::int8_t> zeros_;
  std::vector<float> levels_;
  PackedRows rows_;
};

}  // namespace notch::quant
