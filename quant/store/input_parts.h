// What stands in a file beside the codes of a layer whose input a method changed, written and read.
//
//   F.input_multiplier  F32 [cols]            the layer stands in "input_multipliers"
//   F.input_signs       U8  [ceil(cols / 8)]  of a rotation, "input_rotations": bit j % 8 of byte
//                                             j / 8 is set where the sign of channel j is -1
//   F.side_up           F16 [rows, rank]      of a side product, "side_products", with one of
//   F.side_down         F16 [rank, cols]
//   F.side_channels     I32 [rank]            "side_channels": ascending
// or of a sparse one, which stands in "sparse_products" alone:
//   F.side_values       F16 [n]               row after row
//   F.side_columns      U16 [n]               of the values, ascending in a row
//   F.side_starts       I32 [rows + 1]        where the rows start: from 0 to n
// quant/numbers/named_qtensor.h says what they mean.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nn/model_dir.h"
#include "quant/numbers/named_qtensor.h"

namespace notch::quant {

/// The parts of one layer, to be written. Refers to the tensor, and holds the rest of the bytes.
class InputParts {
 public:
  InputParts(const NamedQTensor& tensor, const std::string& file_name);
  InputParts(const InputParts&) = delete;  // the sources refer to this object
  InputParts& operator=(const InputParts&) = delete;

  const std::vector<nn::TensorSource>& sources() const { return sources_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::vector<nn::TensorSource> sources_;
  std::vector<std::uint8_t> signs_;
  std::int64_t bytes_ = 0;
};

/// The names of the layers that have parts, by kind: what a quantization_config says of them.
struct InputPartNames {
  std::set<std::string> multipliers{}, rotations{}, sides{}, channels{}, sparse{};

  void add(const NamedQTensor& tensor, const std::string& file_name);
  /// Sets the lists that are not empty.
  void write(Json& quantization) const;
  /// Fault::input naming `where` for a name that no quantized tensor has.
  static InputPartNames read(const Json& quantization, const std::map<std::string, Spec>& quantized,
                             const std::string& where);
  /// The key of the first list that has the name; "" where none has.
  const char* list_of(const std::string& file_name) const;
};

/// The parts of one layer of an open file: asked for first, read after everything has been checked.
class InputEntries {
 public:
  InputEntries(const InputPartNames& names, const std::string& file_name, std::int64_t rows,
               std::int64_t cols, nn::WeightFile& file);
  /// Fault::input for a multiplier that is not finite and above 0, a side product that is not finite,
  /// channels or columns that do not ascend inside the input, rows that do not follow each other,
  /// padding bits.
  InputChange read(const nn::WeightFile& file) const;

 private:
  std::vector<real> reals(const nn::WeightFile& file, const nn::TensorEntry& entry) const;
  void read_sparse(const nn::WeightFile& file, SideProduct& side) const;

  std::string name_;
  std::int64_t cols_ = 0;
  const nn::TensorEntry *multiplier_ = nullptr, *signs_ = nullptr, *up_ = nullptr,
                        *down_ = nullptr, *channels_ = nullptr, *values_ = nullptr,
                        *columns_ = nullptr, *starts_ = nullptr;
};

}  // namespace notch::quant
