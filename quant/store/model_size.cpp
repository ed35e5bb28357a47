// The bytes of a model file, exactly, before it is written: quant/store/model_files.h.
#include "quant/store/entropy_coder.h"
#include "quant/store/model_files.h"
#include "quant/store/pack.h"
#include "quant/store/pruned_tensor.h"
#include "quant/store/stored_tensor.h"

namespace notch::quant {

double SizeReport::bits_per_weight() const {
  return 8 * static_cast<double>(bytes()) / static_cast<double>(weights);
}

double SizeReport::coded_bits_per_weight() const {
  const std::int64_t saved = code_bytes + table_bytes - coded_bytes;
  return 8 * static_cast<double>(bytes() - saved) / static_cast<double>(weights);
}

SizeReport predict_size(const nn::Model& model, const Quantized& quantized, int float_bits,
                        Coding coding, Entropy entropy, const CodedStreams& streams) {
  SizeReport size;
  std::vector<nn::TensorSource> outline;  // names, types and shapes, nothing to write
  const auto tensor = [&](std::string name, nn::DType dtype, nn::FileShape shape) {
    outline.push_back({.name = std::move(name), .dtype = dtype, .shape = std::move(shape)});
  };
  for (const nn::FileTensor& t : model.file_tensors()) {
    if (t.param) size.weights += t.shape.size();
    const NamedMask* mask = find_named(quantized.masks, t);
    const std::int64_t kept = mask ? count_kept(mask->keep) : t.shape.size();
    if (mask) {
      const nn::FileShape shape = mask_shape(*t.param);
      size.mask_bytes += shape[0] * shape[1];
      tensor(t.name + ".mask", nn::DType::u8, shape);
    }
    const NamedQTensor* named = find_named(quantized.tensors, t);
    if (!named) {
      size.float_bytes += kept * float_bits / 8;
      tensor(mask ? t.name + ".kept" : t.name, float_bits == 16 ? nn::DType::f16 : nn::DType::f32,
             mask ? nn::FileShape{kept} : nn::file_shape(t.shape));
      continue;
    }
    const QTensor* q = &named->q;
    StorageBytes stored = storage_bytes(q->spec, q->rows, q->cols);
    StoredShapes shapes = stored_shapes(q->spec, q->rows, q->cols);
    if (mask) shapes.codes = {stored.codes = packed_bytes(q->spec, kept)};
    std::vector<std::uint8_t> encoded;
    const auto given = streams.find(named->name);
    const std::vector<std::uint8_t>& coded = given == streams.end() ? encoded : given->second;
    if (entropy == Entropy::measured || coding == Coding::entropy) {
      const std::vector<std::int8_t> codes =
          mask ? kept_of<std::int8_t>(q->codes, mask->keep) : q->codes;
      if (given == streams.end()) encoded = encode_codes(codes, grid_of(q->spec));
      size.code_entropy += code_entropy(codes) * static_cast<double>(codes.size());
    }
    size.quantized += t.shape.size();
    size.coded_bytes += std::ssize(coded);
    if (coding == Coding::entropy) {
      const std::int64_t table = table_bytes(coded, grid_of(q->spec), t.name);
      size.table_bytes += table;
      size.code_bytes += std::ssize(coded) - table;
      tensor(t.name + ".coded", nn::DType::u8, {std::ssize(coded)});
    } else {
      size.code_bytes += stored.codes;
      tensor(t.name + ".codes", nn::DType::u8, shapes.codes);
    }
    // A list of levels stands where other grids have their scales.
    (format_of(q->spec.grid).levels == Levels::unit ? size.level_bytes : size.scale_bytes) +=
        stored.scales;
    size.level_bytes += stored.codebooks;
    for (ScalePart& part : scale_parts(q->spec, q->rows, q->cols))
      tensor(t.name + part.name, part.dtype, std::move(part.shape));
    size.zero_point_bytes += stored.zero_points;
    if (stored.codebooks > 0) tensor(t.name + ".codebooks", nn::DType::f16, shapes.codebooks);
    if (has_zero_points(q->spec)) tensor(t.name + ".zero", nn::DType::u8, shapes.zero);
    if (has_stored_range(*named)) {
      size.scale_bytes += 4;
      size.zero_point_bytes += 1;
      tensor(t.name + ".input_scale", nn::DType::f32, {1});
      tensor(t.name + ".input_zero", nn::DType::i8, {1});
    }
    const InputParts parts(*named, t.name);
    size.side_bytes += parts.bytes();
    for (const nn::TensorSource& part : parts.sources()) tensor(part.name, part.dtype, part.shape);
  }
  if (size.quantized > 0) size.code_entropy /= static_cast<double>(size.quantized);
  size.header_bytes =
      nn::safetensors_bytes(std::move(outline), quantized_metadata()) - size.bytes();
  return size;
}

std::int64_t predict_file_bytes(const nn::Model& model, std::span<const Target> targets) {
  Quantized outline;  // sizes follow from specs and extents alone
  for (const Target& t : targets) {
    outline.tensors.push_back(
        {.name = t.weight->name,
         .q = {.spec = t.spec, .rows = t.weight->value.rows(), .cols = t.weight->value.cols()},
         .input = t.input});
  }
  return predict_size(model, outline, 32, Coding::packed, Entropy::unknown).file_bytes();
}

}  // namespace notch::quant
