// Pruned tensors in files: which weights are kept, one bit each, and what is kept of them.
//
// The mask is row-major, every row starts on a byte: bit c % 8 of byte c / 8 says whether weight c is
// kept, bits beyond the row are 0. Kept codes, or weights, follow each other in the order of the matrix
// without gaps; codes in `bits` bits each (quant/store/pack.h's layout of one row). So 2:4 takes 4 bits
// per 4 weights for the mask, as many as the two 2-bit indices of a sparse tensor core, and any other
// pattern as few. Between files and masks weights are dense.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nn/model_dir.h"
#include "quant/numbers/named_mask.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

/// [rows, cols] flags -> rows · ceil(cols / 8) bytes, and back; Fault::input naming `where` for a bit
/// beyond a row.
std::vector<std::uint8_t> pack_mask(std::span<const std::uint8_t> keep, std::int64_t rows,
                                    std::int64_t cols);
Keep unpack_mask(std::span<const std::uint8_t> bytes, std::int64_t rows, std::int64_t cols,
                 std::string_view where);

std::int64_t count_kept(std::span<const std::uint8_t> keep);

/// The elements that are kept, in their order.
template <class T>
std::vector<T> kept_of(std::span<const T> all, std::span<const std::uint8_t> keep) {
  std::vector<T> kept;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (keep[i] != 0) kept.push_back(all[i]);
  return kept;
}

/// The codes of a matrix from those that are kept; the others are the codes of 0 in their units.
std::vector<std::int8_t> spread_codes(std::span<const std::int8_t> kept,
                                      std::span<const std::uint8_t> keep, const Spec& spec,
                                      std::int64_t rows, std::int64_t cols,
                                      std::span<const std::int8_t> zero_points);

/// Usage error naming `where` unless the mask has the size of the matrix and every pruned weight of it
/// is 0.
void validate(std::span<const std::uint8_t> keep, const QTensor& q, std::string_view where);

/// A pruned tensor of an open file that is not quantized: F.mask and F.kept.
class KeptWeights {
 public:
  /// Fault::input for parts that are missing or do not fit.
  KeptWeights(Param& p, const std::string& name, nn::WeightFile& file);
  Param& param() const { return *param_; }
  /// Fills the parameter. Fault::input for another number of weights than the mask keeps, and for one
  /// that is not finite.
  NamedMask read(const nn::WeightFile& file) const;

 private:
  Param* param_;
  std::string name_;
  const nn::TensorEntry *mask_, *kept_;
};

/// [rows, ceil(cols / 8)]
nn::FileShape mask_shape(const Param& matrix);
/// The mask of the tensor `name` in the file, [rows, cols].
const nn::TensorEntry& require_mask(nn::WeightFile& file, const std::string& name,
                                    std::int64_t rows, std::int64_t cols);
Keep read_mask(const nn::WeightFile& file, const nn::TensorEntry& entry, std::int64_t rows,
               std::int64_t cols);

}  // namespace notch::quant
