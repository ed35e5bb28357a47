#include "quant/store/pruned_tensor.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "quant/numbers/spec.h"

namespace notch::quant {
namespace {

Index mask_row(Index cols) { return (cols + 7) / 8; }

[[noreturn]] void refuse_pruned(std::string_view where, std::string what, std::string field,
                                std::string found, std::string expected) {
  throw Error({.fault = Fault::input,
               .where = std::string(where),
               .what = std::move(what),
               .field = std::move(field),
               .found = std::move(found),
               .expected = std::move(expected)});
}

}  // namespace

std::vector<std::uint8_t> pack_mask(std::span<const std::uint8_t> keep, Index rows, Index cols) {
  check(std::ssize(keep) == extent("mask", {rows, cols}), "mask", keep.size(), " flags for ", rows,
        " x ", cols, " weights");
  std::vector<std::uint8_t> bytes(at(rows * mask_row(cols)));
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c)
      if (keep[at(r * cols + c)] != 0)
        bytes[at(r * mask_row(cols) + c / 8)] |= static_cast<std::uint8_t>(1u << (c % 8));
  return bytes;
}

Keep unpack_mask(std::span<const std::uint8_t> bytes, Index rows, Index cols,
                 std::string_view where) {
  extent(where, {rows, cols});
  check(std::ssize(bytes) == rows * mask_row(cols), where, "a mask of ", bytes.size(),
        " bytes for ", rows, " x ", cols, " weights");
  Keep keep(at(rows * cols));
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < 8 * mask_row(cols); ++c) {
      const bool bit = (bytes[at(r * mask_row(cols) + c / 8)] >> (c % 8) & 1) != 0;
      if (c < cols) keep[at(r * cols + c)] = bit;
      if (c >= cols && bit)
        refuse_pruned(where, "a mask keeps weights beyond the matrix", "mask",
                      str("row ", r, ", column ", c), str(cols, " columns"));
    }
  }
  return keep;
}

Index count_kept(std::span<const std::uint8_t> keep) {
  return std::ssize(keep) - std::ranges::count(keep, std::uint8_t{0});
}

std::vector<std::int8_t> spread_codes(std::span<const std::int8_t> kept,
                                      std::span<const std::uint8_t> keep, const Spec& spec,
                                      Index rows, Index cols,
                                      std::span<const std::int8_t> zero_points) {
  const bool whole =
      std::ssize(keep) == extent("mask", {rows, cols}) && std::ssize(kept) == count_kept(keep) &&
      (zero_points.empty() || std::ssize(zero_points) == unit_count(spec, rows, cols));
  check(whole, "mask", keep.size(), " flags with ", kept.size(), " codes and ", zero_points.size(),
        " zero points for ", rows, " x ", cols, " weights");
  const Grid grid = grid_of(spec);
  const Index unit = unit_size(spec, rows, cols);
  std::vector<std::int8_t> codes(keep.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int z = zero_points.empty() ? 0 : zero_points[i / at(unit)];
    codes[i] = keep[i] != 0 ? kept[next++] : static_cast<std::int8_t>(grid.nearest(0, z));
  }
  return codes;
}

void validate(std::span<const std::uint8_t> keep, const QTensor& q, std::string_view where) {
  check(keep.size() == q.codes.size(), where, "a mask of ", keep.size(), " weights for ",
        q.codes.size());
  const std::vector<std::int8_t> expected = spread_codes(kept_of<std::int8_t>(q.codes, keep), keep,
                                                         q.spec, q.rows, q.cols, q.at.zero_points);
  check(expected == q.codes, where, "a weight that is pruned is not 0");
}

nn::FileShape mask_shape(const Param& matrix) {
  return {matrix.value.rows(), mask_row(matrix.value.cols())};
}

const nn::TensorEntry& require_mask(nn::WeightFile& file, const std::string& name, Index rows,
                                    Index cols) {
  const nn::TensorEntry& entry = file.require(name + ".mask", {rows, mask_row(cols)});
  if (entry.dtype != nn::DType::u8)
    refuse_pruned(file.file().path().string(), "stored in another type than bits", entry.name,
                  std::string(nn::name(entry.dtype)), "U8");
  return entry;
}

Keep read_mask(const nn::WeightFile& file, const nn::TensorEntry& entry, Index rows, Index cols) {
  std::vector<std::uint8_t> bytes(entry.bytes);
  file.file().read_bytes(entry, std::as_writable_bytes(std::span(bytes)));
  return unpack_mask(bytes, rows, cols, str(file.file().path().string(), ": ", entry.name));
}

KeptWeights::KeptWeights(Param& p, const std::string& name, nn::WeightFile& file)
    : param_(&p), name_(name), mask_(&require_mask(file, name, p.value.rows(), p.value.cols())) {
  // As many as there are: the mask knows whether that is right.
  const nn::TensorEntry* entry = file.file().find(name + ".kept");
  kept_ = &file.require(name + ".kept", {entry ? entry->size() : 0});
}

NamedMask KeptWeights::read(const nn::WeightFile& file) const {
  const Index rows = param_->value.rows(), cols = param_->value.cols();
  NamedMask mask{.name = param_->name, .keep = read_mask(file, *mask_, rows, cols)};
  const std::string where = file.file().path().string();
  if (kept_->size() != count_kept(mask.keep))
    refuse_pruned(where, "other weights than the mask keeps", kept_->name,
                  str(kept_->size(), " weights"), str(count_kept(mask.keep)));
  std::vector<real> kept(at(kept_->size()));
  file.file().read(*kept_, kept);
  const auto bad = std::ranges::find_if(kept, [](real v) { return !std::isfinite(v); });
  if (bad != kept.end())
    refuse_pruned(where, "a weight is not finite", kept_->name, str(*bad), "a number");
  const std::span<real> w = param_->value.flat();
  std::size_t next = 0;
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = mask.keep[i] != 0 ? kept[next++] : 0;
  return mask;
}

}  // namespace notch::quant
