#include "quant/store/stored_tensor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/base/index.h"
#include "quant/numbers/format.h"
#include "quant/numbers/nested_scales.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/pack.h"

namespace notch::quant {

nn::DType dtype_of(ScaleType type) {
  switch (type) {
    case ScaleType::f16:
    case ScaleType::f16_7:
      return nn::DType::f16;
    case ScaleType::bf16:
      return nn::DType::bf16;
    case ScaleType::e8m0:
      return nn::DType::f8_e8m0;
    case ScaleType::nested:
    case ScaleType::bilevel:
      return nn::DType::u8;
    case ScaleType::f32:
      break;
  }
  return nn::DType::f32;
}

const nn::Metadata& quantized_metadata() {
  static const nn::Metadata metadata{{"format", "pt"}};
  return metadata;
}

bool has_stored_range(const NamedQTensor& t) {
  return t.input && t.input->spec.range == ActivationRange::fixed;
}

StoredShapes stored_shapes(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  StoredShapes s{.codes = {rows, packed_bytes(spec, cols)}};
  if (const std::int64_t numbers = codebook_numbers(spec, rows, cols); numbers > 0) {
    const std::int64_t vectors = rows * cols >= kManyWeights ? 256 : 16;
    s.codebooks = {numbers / vectors / kWordColumns, vectors, kWordColumns};
  }
  const std::int64_t each = scales_per_unit(spec);
  if (spec.granularity == Granularity::tensor) {
    s.scale = {each};
    s.zero = {1, 1};
    return s;
  }
  const std::int64_t units_per_row = unit_count(spec, rows, cols) / rows;
  s.scale = {rows, units_per_row * each};
  if (spec.scale == ScaleType::bilevel) s.scale[1] = (units_per_row * kBilevelBits + 7) / 8;
  s.zero = {rows, packed_bytes(spec, units_per_row)};
  return s;
}

std::int64_t ScalePart::bytes() const {
  std::int64_t n = nn::element_bits(dtype) / 8;
  for (const std::int64_t extent : shape) n *= extent;
  return n;
}

std::vector<ScalePart> scale_parts(const Spec& spec, std::int64_t rows, std::int64_t cols) {
  const std::int64_t units = unit_count(spec, rows, cols);
  std::vector<ScalePart> parts{
      {".scale", dtype_of(spec.scale), stored_shapes(spec, rows, cols).scale}};
  if (spec.scale == ScaleType::nested) {
    parts.push_back({".scale_scale", nn::DType::f32, {nested_blocks(units)}});
    parts.push_back({".scale_mean", nn::DType::f32, {1}});
  } else if (spec.scale == ScaleType::bilevel) {
    const std::int64_t unit_rows = spec.granularity == Granularity::tensor ? 1 : rows;
    const nn::FileShape shape{quotient_up(unit_rows, kBilevelRows), units / unit_rows};
    parts.push_back({".scale_step", nn::DType::f16, shape});
    parts.push_back({".scale_minimum", nn::DType::f16, shape});
  }
  return parts;
}

PackedEntry::PackedEntry(Param& p, const std::string& file_name, const Spec& s, Coding coding,
                         std::optional<ActivationSpec> in, const InputPartNames& parts, bool pruned,
                         nn::WeightFile& file)
    : param(&p),
      name(file_name),
      spec(s),
      input(in),
      change(parts, file_name, p.value.rows(), p.value.cols(), file) {
  const std::int64_t rows = p.value.rows(), cols = p.value.cols();
  const StoredShapes shapes = stored_shapes(spec, rows, cols);
  if (pruned) mask = &require_mask(file, name, rows, cols);
  if (coding == Coding::entropy || pruned) {
    // As long as it is: the decoder, or the mask, knows whether that is right.
    const char* part = coding == Coding::entropy ? ".coded" : ".codes";
    const nn::TensorEntry* entry = file.file().find(name + part);
    (coding == Coding::entropy ? coded : codes) =
        &require(file, part, {entry ? entry->size() : 0}, nn::DType::u8);
  } else {
    codes = &require(file, ".codes", shapes.codes, nn::DType::u8);
  }
  for (const ScalePart& part : scale_parts(spec, rows, cols))
    scales.push_back(&require(file, part.name, part.shape, part.dtype));
  if (!shapes.codebooks.empty())
    codebooks = &require(file, ".codebooks", shapes.codebooks, nn::DType::f16);
  if (has_zero_points(spec)) zero = &require(file, ".zero", shapes.zero, nn::DType::u8);
  if (!input || input->range != ActivationRange::fixed) return;
  input_scale = &require(file, ".input_scale", {1}, nn::DType::f32);
  input_zero = &require(file, ".input_zero", {1}, nn::DType::i8);
}

const nn::TensorEntry& PackedEntry::require(nn::WeightFile& file, std::string_view part,
                                            const nn::FileShape& shape, nn::DType dtype) const {
  const nn::TensorEntry& entry = file.require(name + std::string(part), shape);
  if (entry.dtype == dtype) return entry;
  throw Error({.fault = Fault::input,
               .where = file.file().path().string(),
               .what = "stored in another type than its spec says",
               .field = entry.name,
               .found = std::string(nn::name(entry.dtype)),
               .expected = std::string(nn::name(dtype))});
}

std::string PackedEntry::where(const nn::WeightFile& file) const {
  return file.file().path().string() + ": " + name;
}

QTensor PackedEntry::read_rows(const nn::WeightFile& file, std::int64_t first, std::int64_t n,
                               const Keep& keep) const {
  const std::int64_t all = param->value.rows();
  PackedTensor packed{.spec = spec, .rows = n, .cols = param->value.cols()};
  const auto rows_of = [&](const nn::TensorEntry& entry) {
    const auto row = static_cast<std::int64_t>(entry.bytes) / all;
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(n * row));
    file.file().read_bytes(entry, std::as_writable_bytes(std::span(bytes)),
                           static_cast<std::uint64_t>(first * row));
    return bytes;
  };
  const auto units_of = [&](const nn::TensorEntry& entry) {
    return spec.granularity == Granularity::tensor ? read_bytes(file, entry) : rows_of(entry);
  };
  if (mask) {
    check(n == all, name, "rows of a pruned matrix are read together");
    packed.codes = pack_codes(read_pruned(file, keep), n, packed.cols, spec);
  } else if (coded) {
    check(n == all, name, "coded rows are read together");
    packed.codes = pack_codes(
        decode_codes(read_bytes(file, *coded), n * packed.cols, grid_of(spec), where(file)), n,
        packed.cols, spec);
  } else {
    packed.codes = rows_of(*codes);
  }
  check(scales.size() == 1 || n == all, name, "scales of scales are read together");
  packed.scales = scales.size() > 1 ? scales_of_scales(file) : units_of(*scales[0]);
  if (zero) packed.zero_points = units_of(*zero);
  if (codebooks) packed.codebooks = read_bytes(file, *codebooks);  // the same for all rows
  return unpack(packed, first == 0 ? where(file) : str(where(file), " from row ", first));
}

std::vector<std::uint8_t> PackedEntry::read_bytes(const nn::WeightFile& file,
                                                  const nn::TensorEntry& entry) {
  std::vector<std::uint8_t> bytes(entry.bytes);
  file.file().read_bytes(entry, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

Keep PackedEntry::read_keep(const nn::WeightFile& file) const {
  return mask ? read_mask(file, *mask, param->value.rows(), param->value.cols()) : Keep{};
}

std::vector<std::int8_t> PackedEntry::read_pruned(const nn::WeightFile& file,
                                                  const Keep& keep) const {
  const std::int64_t rows = param->value.rows(), cols = param->value.cols();
  const std::int64_t n = count_kept(keep);
  const std::vector<std::int8_t> kept =
      coded ? decode_codes(read_bytes(file, *coded), n, grid_of(spec), where(file))
            : unpack_codes(read_bytes(file, *codes), 1, n, spec, where(file));
  std::vector<std::int8_t> zeros;
  if (zero) {
    const std::int64_t zero_rows = spec.granularity == Granularity::tensor ? 1 : rows;
    zeros = unpack_codes(read_bytes(file, *zero), zero_rows,
                         unit_count(spec, rows, cols) / zero_rows, spec, where(file));
  }
  return spread_codes(kept, keep, spec, rows, cols, zeros);
}

std::vector<std::uint8_t> PackedEntry::scales_of_scales(const nn::WeightFile& file) const {
  std::vector<std::uint8_t> bytes;
  for (const nn::TensorEntry* entry : scales) {
    const std::vector<std::uint8_t> part = read_bytes(file, *entry);
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

QTensor PackedEntry::read(const nn::WeightFile& file, const Keep& keep) const {
  return read_rows(file, 0, param->value.rows(), keep);
}

ServedMatrix PackedEntry::read_served(const nn::WeightFile& file) const {
  constexpr std::int64_t kPieceWeights = 1 << 20, kStep = ServedMatrix::kRowStep;
  const std::int64_t rows = param->value.rows(), cols = param->value.cols();
  const std::int64_t few = kPieceWeights / std::max<std::int64_t>(1, cols);
  const std::int64_t piece =
      coded || mask || scales.size() > 1 ? rows : std::max(kStep, few / kStep * kStep);
  const Keep keep = read_keep(file);
  ServedMatrix matrix(spec, rows, cols, read_input(file));
  for (std::int64_t first = 0; first < rows; first += piece)
    matrix.set_rows(first, read_rows(file, first, std::min(piece, rows - first), keep));
  return matrix;
}

std::optional<InputQuantizer> PackedEntry::read_input(const nn::WeightFile& file) const {
  if (!input) return std::nullopt;
  InputQuantizer quantizer{.spec = *input};
  if (input_scale) {
    std::array<real, 1> s{};
    std::array<std::int8_t, 1> zero_point{};
    file.file().read(*input_scale, s);
    file.file().read_bytes(*input_zero, std::as_writable_bytes(std::span(zero_point)));
    quantizer.at = {.scale = s[0], .zero_point = zero_point[0]};
  }
  validate(quantizer, file.file().path().string() + ": " + name);
  return quantizer;
}

void check_expansion(const std::vector<PackedEntry>& packed, const fs::path& path) {
  constexpr std::int64_t kFree = std::int64_t{1} << 24, kMostPerByte = 64;
  std::int64_t codes = 0, bytes = 0;
  for (const PackedEntry& entry : packed) {
    if (!entry.coded) continue;
    codes += entry.param->value.size();
    bytes += entry.coded->size();
  }
  if (codes <= kFree || (codes - kFree) / kMostPerByte <= bytes) return;
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = "more codes than a model's streams stand for",
               .field = "coded",
               .found = str(codes, " codes in ", bytes, " bytes"),
               .expected = str("at most ", kFree, " and ", kMostPerByte, " for every byte")});
}

}  // namespace notch::quant
