// ServedWords: a weight matrix of a loaded model whose columns share words (quant/numbers/own_levels.h), as it
// is stored. No kernel multiplies words: products are made of rows that are dequantized piece by piece, for
// one token as for many.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "quant/numbers/own_levels.h"

namespace notch::quant {

class ServedWords {
 public:
  /// Makes room, to be filled by set_rows.
  ServedWords(const Spec& spec, std::int64_t rows, std::int64_t cols);

  /// Rows from `first_row` on, a matrix of the same spec, width and codebooks. Parallel.
  void set_rows(std::int64_t first_row, const QTensor& part);
  /// out [cols], bit for bit quant/numbers/qtensor.h's dequantize.
  void dequantize_row(std::span<float> out, std::int64_t row) const;
  std::int64_t bytes() const;  ///< of memory

 private:
  Spec spec_;
  std::int64_t rows_ = 0, cols_ = 0;
  std::vector<std::uint8_t> words_;  ///< `bits` bytes each
  std::vector<real> scales_, codebooks_;
};

}  // namespace notch::quant
