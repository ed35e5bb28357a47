#include "quant/store/input_parts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/base/error.h"

namespace notch::quant {
namespace {

/// The lists of a quantization_config.
struct List {
  const char* key;
  std::set<std::string> InputPartNames::*names;
};
constexpr std::array kLists{List{"input_multipliers", &InputPartNames::multipliers},
                            List{"input_rotations", &InputPartNames::rotations},
                            List{"side_products", &InputPartNames::sides},
                            List{"side_channels", &InputPartNames::channels},
                            List{"sparse_products", &InputPartNames::sparse}};

std::int64_t sign_bytes(std::int64_t cols) { return (cols + 7) / 8; }

[[noreturn]] void refuse_parts(const std::string& where, std::string field, std::string found,
                               std::string expected) {
  throw Error({.fault = Fault::input,
               .where = where,
               .what = "not what changes an input",
               .field = std::move(field),
               .found = std::move(found),
               .expected = std::move(expected)});
}

}  // namespace

InputParts::InputParts(const NamedQTensor& tensor, const std::string& name) {
  const InputChange& change = tensor.change;
  const std::int64_t rows = tensor.q.rows, cols = tensor.q.cols;
  const auto add = [&](nn::TensorSource source, std::int64_t bytes) {
    sources_.push_back(std::move(source));
    bytes_ += bytes;
  };
  if (!change.multiply.empty()) {
    add(nn::real_tensor(name + ".input_multiplier", {cols}, change.multiply), 4 * cols);
  }
  if (!change.signs.empty()) {
    signs_.resize(static_cast<std::size_t>(sign_bytes(cols)));
    for (std::size_t j = 0; j < change.signs.size(); ++j)
      if (change.signs[j] < 0) signs_[j / 8] |= static_cast<std::uint8_t>(1u << (j % 8));
    add(nn::raw_tensor(name + ".input_signs", nn::DType::u8, {sign_bytes(cols)},
                       std::as_bytes(std::span(signs_))),
        sign_bytes(cols));
  }
  if (!change.side) return;
  const SideProduct& side = *change.side;
  if (side.is_sparse()) {
    const std::int64_t n = std::ssize(side.values);
    add(nn::real_tensor(name + ".side_values", {n}, side.values, nn::DType::f16), 2 * n);
    add(nn::raw_tensor(name + ".side_columns", nn::DType::u16, {n},
                       std::as_bytes(std::span(side.columns))),
        2 * n);
    add(nn::raw_tensor(name + ".side_starts", nn::DType::i32, {rows + 1},
                       std::as_bytes(std::span(side.starts))),
        4 * (rows + 1));
    return;
  }
  add(nn::real_tensor(name + ".side_up", {rows, side.rank}, side.up, nn::DType::f16),
      2 * rows * side.rank);
  if (side.channels.empty()) {
    add(nn::real_tensor(name + ".side_down", {side.rank, cols}, side.down, nn::DType::f16),
        2 * side.rank * cols);
  } else {
    add(nn::raw_tensor(name + ".side_channels", nn::DType::i32, {side.rank},
                       std::as_bytes(std::span(side.channels))),
        4 * side.rank);
  }
}

void InputPartNames::add(const NamedQTensor& tensor, const std::string& name) {
  if (!tensor.change.multiply.empty()) multipliers.insert(name);
  if (!tensor.change.signs.empty()) rotations.insert(name);
  if (!tensor.change.side) return;
  (tensor.change.side->is_sparse() ? sparse : sides).insert(name);
  if (!tensor.change.side->channels.empty()) channels.insert(name);
}

void InputPartNames::write(Json& quantization) const {
  for (const List& list : kLists) {
    if ((this->*list.names).empty()) continue;
    Json array = Json::array();
    for (const std::string& name : this->*list.names) array.push(name);
    quantization.set(list.key, array);
  }
}

InputPartNames InputPartNames::read(const Json& quantization,
                                    const std::map<std::string, Spec>& quantized,
                                    const std::string& where) {
  InputPartNames names;
  for (const List& list : kLists) {
    const Json* all = quantization.find(list.key);
    if (!all) continue;
    for (const Json& entry : all->as_array(where)) {
      const std::string& name = entry.as_string(where);
      if (!quantized.contains(name) ||
          (list.names == &InputPartNames::channels && !names.sides.contains(name))) {
        throw Error({.fault = Fault::input,
                     .where = where,
                     .what = "not a quantization this program reads",
                     .field = str("quantization_config.", list.key),
                     .found = name,
                     .expected = list.names == &InputPartNames::channels
                                     ? "names of side_products"
                                     : "names of quantized tensors"});
      }
      (names.*list.names).insert(name);
    }
  }
  return names;
}

const char* InputPartNames::list_of(const std::string& name) const {
  for (const List& list : kLists) {
    if ((this->*list.names).contains(name)) return list.key;
  }
  return "";
}

InputEntries::InputEntries(const InputPartNames& names, const std::string& name, std::int64_t rows,
                           std::int64_t cols, nn::WeightFile& file)
    : name_(name), cols_(cols) {
  const auto require = [&](const char* part, const nn::FileShape& shape, nn::DType dtype) {
    const nn::TensorEntry& entry = file.require(name + part, shape);
    if (entry.dtype == dtype) return &entry;
    refuse_parts(file.file().path().string(), entry.name, std::string(nn::name(entry.dtype)),
                 std::string(nn::name(dtype)));
  };
  if (names.multipliers.contains(name)) {
    multiplier_ = require(".input_multiplier", {cols}, nn::DType::f32);
  }
  if (names.rotations.contains(name)) {
    signs_ = require(".input_signs", {sign_bytes(cols)}, nn::DType::u8);
  }
  if (names.sparse.contains(name)) {
    const nn::TensorEntry* entry = file.file().find(name + ".side_values");
    const std::int64_t n = entry ? entry->size() : 0;
    values_ = require(".side_values", {n}, nn::DType::f16);
    columns_ = require(".side_columns", {n}, nn::DType::u16);
    starts_ = require(".side_starts", {rows + 1}, nn::DType::i32);
    return;
  }
  if (!names.sides.contains(name)) return;
  // The file says the rank; anything that fits both factors is one.
  const nn::TensorEntry* entry = file.file().find(name + ".side_up");
  const std::int64_t rank = entry && rows > 0 ? std::max<std::int64_t>(1, entry->size() / rows) : 1;
  up_ = require(".side_up", {rows, rank}, nn::DType::f16);
  if (names.channels.contains(name)) {
    channels_ = require(".side_channels", {rank}, nn::DType::i32);
  } else {
    down_ = require(".side_down", {rank, cols}, nn::DType::f16);
  }
}

std::vector<real> InputEntries::reals(const nn::WeightFile& file,
                                      const nn::TensorEntry& entry) const {
  std::vector<real> values(static_cast<std::size_t>(entry.size()));
  file.file().read(entry, values);
  for (const real v : values) {
    if (std::isfinite(v) && (v > 0 || &entry != multiplier_)) continue;
    refuse_parts(file.file().path().string(), entry.name, str(v),
                 &entry == multiplier_ ? "finite and above 0" : "finite");
  }
  return values;
}

InputChange InputEntries::read(const nn::WeightFile& file) const {
  const std::string path = file.file().path().string();
  InputChange change;
  if (multiplier_) change.multiply = reals(file, *multiplier_);
  if (signs_) {
    std::vector<std::uint8_t> bits(signs_->bytes);
    file.file().read_bytes(*signs_, std::as_writable_bytes(std::span(bits)));
    const auto negative = [&](std::int64_t j) {
      return (bits[static_cast<std::size_t>(j / 8)] >> (j % 8) & 1) != 0;
    };
    for (std::int64_t j = 0; j < cols_; ++j)
      change.signs.push_back(static_cast<std::int8_t>(negative(j) ? -1 : 1));
    for (std::int64_t j = cols_; j < 8 * std::ssize(bits); ++j)
      if (negative(j)) refuse_parts(path, signs_->name, "a bit after the last sign", "0");
  }
  if (values_) read_sparse(file, change.side.emplace());
  if (!up_) return change;
  SideProduct& side = change.side.emplace();
  side.up = reals(file, *up_);
  side.rank = up_->shape[1];
  if (down_) {
    side.down = reals(file, *down_);
    return change;
  }
  side.channels.resize(static_cast<std::size_t>(side.rank));
  file.file().read_bytes(*channels_, std::as_writable_bytes(std::span(side.channels)));
  std::int64_t before = -1;
  for (const std::int32_t c : side.channels) {
    if (c <= before || c >= cols_)
      refuse_parts(path, channels_->name, str(c), str("ascending, below ", cols_));
    before = c;
  }
  return change;
}

void InputEntries::read_sparse(const nn::WeightFile& file, SideProduct& side) const {
  const std::string path = file.file().path().string();
  side.values = reals(file, *values_);
  side.columns.resize(side.values.size());
  file.file().read_bytes(*columns_, std::as_writable_bytes(std::span(side.columns)));
  side.starts.resize(static_cast<std::size_t>(starts_->size()));
  file.file().read_bytes(*starts_, std::as_writable_bytes(std::span(side.starts)));
  const auto n = static_cast<std::int32_t>(side.values.size());
  if (side.starts.front() != 0 || side.starts.back() != n || !std::ranges::is_sorted(side.starts)) {
    refuse_parts(path, starts_->name, str(side.starts.front(), " to ", side.starts.back()),
                 str("ascending from 0 to ", n));
  }
  for (std::size_t row = 0; row + 1 < side.starts.size(); ++row) {
    std::int64_t before = -1;
    for (std::int32_t i = side.starts[row]; i < side.starts[row + 1]; ++i) {
      const std::int64_t column = side.columns[static_cast<std::size_t>(i)];
      if (column <= before || column >= cols_)
        refuse_parts(path, columns_->name, str(column), str("ascending in a row, below ", cols_));
      before = column;
    }
  }
}

}  // namespace notch::quant
