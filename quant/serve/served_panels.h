// ServedPanels: a weight matrix of a loaded model as integers are multiplied with it.
//
// Repacked once, in pieces of rows, for the kernels of its width: 8 bits in the layout that
// training uses (integer_linear.h), fewer as they are, to be unpacked in registers
// (narrow_linear.h). A tied table is looked up in the same memory.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/param.h"
#include "quant/kernels/narrow_linear.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

class ServedPanels {
 public:
  /// Makes room, to be filled by set_rows. Usage error for sizes that the kernels do not have, or a
  /// codebook.
  ServedPanels(const Spec& spec, std::int64_t rows, std::int64_t cols);
  explicit ServedPanels(const QTensor& q);

  /// Pieces start at a multiple of this many rows.
  static constexpr std::int64_t kRowStep = IntegerShape::kPanel;
  /// Rows from `first_row` on, a matrix of the same spec and width. Parallel.
  void set_rows(std::int64_t first_row, const QTensor& part);

  /// What activations must be rounded for.
  const IntegerShape& shape() const { return shape_; }
  /// integer_linear or narrow_linear.
  void multiply(std::span<float> out, const ActivationCodes& x, std::span<const float> bias,
                std::int64_t M) const;
  /// out [cols] = (q - z) · scale, bit for bit quant/numbers/qtensor.h's dequantize.
  void dequantize_row(std::span<float> out, std::int64_t row) const;
  std::int64_t bytes() const;  ///< of memory
  /// The same before there is any.
  static std::int64_t bytes(const Spec& spec, std::int64_t rows, std::int64_t cols);

 private:
  bool is_narrow() const { return shape_.bits < 8; }

  Spec spec_;
  IntegerShape shape_;
  FlatBlock memory_;
  PackedWeights wide_{};
  NarrowWeights narrow_{};
};

}  // namespace notch::quant
