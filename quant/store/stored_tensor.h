// One quantized tensor of a model directory: its stored parts, checked and read whole or in rows.
//
// Separate from model_files.cpp, which knows what a directory is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/model_dir.h"
#include "quant/numbers/find_named.h"
#include "quant/serve/served_matrix.h"
#include "quant/store/input_parts.h"
#include "quant/store/model_files.h"
#include "quant/store/pruned_tensor.h"

namespace notch::quant {

nn::DType dtype_of(ScaleType type);

/// The metadata of every file of quantized weights.
const nn::Metadata& quantized_metadata();

/// What a list that names parameters has of a model's tensor; null: nothing.
template <class Named>
const Named* find_named(const std::vector<Named>& all, const nn::FileTensor& t) {
  return t.param ? find_named(all, t.param->name) : nullptr;
}

bool has_stored_range(const NamedQTensor& t);

/// The shapes of the stored parts.
struct StoredShapes {
  nn::FileShape codes{}, scale{}, zero{}, codebooks{};
};

StoredShapes stored_shapes(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// A tensor of those that hold the scales, which lie one behind the other in PackedTensor::scales.
struct ScalePart {
  const char* name;
  nn::DType dtype;
  nn::FileShape shape;

  std::int64_t bytes() const;
};

std::vector<ScalePart> scale_parts(const Spec& spec, std::int64_t rows, std::int64_t cols);

/// One quantized tensor of an open file: asked for first, read after everything has been checked.
struct PackedEntry {
  Param* param = nullptr;
  std::string name{};
  Spec spec{};
  std::optional<ActivationSpec> input{};
  const nn::TensorEntry *codes = nullptr, *coded = nullptr, *zero = nullptr;
  const nn::TensorEntry* mask = nullptr;
  std::vector<const nn::TensorEntry*> scales{};  ///< as scale_parts has them
  const nn::TensorEntry* codebooks = nullptr;
  const nn::TensorEntry *input_scale = nullptr, *input_zero = nullptr;
  InputEntries change;

  PackedEntry(Param& p, const std::string& file_name, const Spec& s, Coding coding,
              std::optional<ActivationSpec> in, const InputPartNames& parts, bool pruned,
              nn::WeightFile& file);
  const nn::TensorEntry& require(nn::WeightFile& file, std::string_view part,
                                 const nn::FileShape& shape, nn::DType dtype) const;
  std::string where(const nn::WeightFile& file) const;

  /// `n` rows from `first` on, checked; of a pruned matrix all, `keep` being its mask. (Their numbers in
  /// an error count from `first`.)
  QTensor read_rows(const nn::WeightFile& file, std::int64_t first, std::int64_t n,
                    const Keep& keep) const;
  static std::vector<std::uint8_t> read_bytes(const nn::WeightFile& file,
                                              const nn::TensorEntry& entry);

  /// Which weights of a pruned matrix are kept; empty of any other.
  Keep read_keep(const nn::WeightFile& file) const;

  /// The codes of a pruned matrix, zeros included.
  std::vector<std::int8_t> read_pruned(const nn::WeightFile& file, const Keep& keep) const;

  /// Scales of the whole matrix and their own, as they are stored.
  std::vector<std::uint8_t> scales_of_scales(const nn::WeightFile& file) const;
  QTensor read(const nn::WeightFile& file, const Keep& keep) const;

  /// Repacked in pieces, so that no second copy of a large tensor exists.
  ServedMatrix read_served(const nn::WeightFile& file) const;
  std::optional<InputQuantizer> read_input(const nn::WeightFile& file) const;
};

/// A stream of one symbol stands for any number of codes, and every one of them takes memory. The
/// codes of a model need an eighth of a bit at the very least, on average.
void check_expansion(const std::vector<PackedEntry>& packed, const fs::path& path);

}  // namespace notch::quant
