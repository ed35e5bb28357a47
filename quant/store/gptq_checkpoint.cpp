// The bits of GPTQ checkpoints and their writer; the reader is gptq_read.cpp.
#include "quant/store/gptq_checkpoint.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <span>

#include "autograd/base/half.h"
#include "autograd/base/names.h"
#include "nn/integrity.h"
#include "quant/numbers/find_named.h"
#include "quant/numbers/format.h"
#include "quant/store/gptq_layout.h"

namespace notch::quant {

using namespace gptq_file;

namespace {

const fs::path kFormat = "a GPTQ checkpoint";  // where something does not fit it

/// A matrix that the format holds: the Linear's layer, or why not.
Layer layer_of(const NamedQTensor& t, GptqZeros zeros) {
  const QTensor& q = t.q;
  const Format& format = format_of(q.spec.grid);
  const Grid grid = grid_of(q.spec);
  const auto refuse_here = [&](std::string what, std::string found, std::string expected) {
    refuse_file(kFormat, t.name, std::move(what), std::move(found), std::move(expected));
  };
  if (!has_width(q.spec.bits))
    refuse_here("no width of the format", str(q.spec.bits, " bits"), "2, 3, 4 or 8 bits");
  if (!grid.levels.empty() || grid.step != 1) {
    refuse_here("the grid's levels are no whole numbers from a zero point",
                std::string(format.name), "narrow, full, signed_max, asymmetric or ternary");
  }
  if (q.spec.scale != ScaleType::f16) {
    refuse_here("the scales are of another type than the format has",
                std::string(word_of(q.spec.scale)), "f16: quantize with --scale f16");
  }
  if (t.input) {
    refuse_here("the layer's input is rounded too, which the format does not say",
                "quantized activations", "fp32 activations");
  }
  if (!t.change.empty()) {
    refuse_here("the layer's input is changed first, which the format does not say",
                !t.change.signs.empty() ? "rotated channels"
                : t.change.side         ? "a product beside it"
                                        : "multiplied channels",
                "a method that changes no inputs");
  }
  Layer layer{.bits = q.spec.bits, .out = q.rows, .in = q.cols, .group = q.cols, .zeros = zeros};
  if (q.spec.granularity == Granularity::group) layer.group = q.spec.group_size;
  for (const std::int64_t extent : {layer.in, layer.out}) {
    if (extent * layer.bits % kWord != 0) {
      refuse_here("codes of a row or column fill no words of 32 bits",
                  str(extent, " codes of ", layer.bits, " bits"),
                  str("a multiple of ", kWord / std::gcd(kWord, layer.bits)));
    }
  }
  return layer;
}

/// The four parts of a matrix; the sources refer to them.
struct Parts {
  std::vector<std::uint32_t> codes{}, zeros{};
  std::vector<std::uint16_t> scales{};
  std::vector<std::int32_t> groups{};
};

std::vector<std::uint8_t> unsigned_of(std::span<const std::int8_t> codes, int half) {
  std::vector<std::uint8_t> out;
  out.reserve(codes.size());
  for (const std::int8_t q : codes) out.push_back(static_cast<std::uint8_t>(q + half));
  return out;
}

Parts parts_of(const NamedQTensor& t, const Layer& layer) {
  const QTensor& q = t.q;
  const std::int64_t units = layer.out * layer.groups();
  const bool one = q.spec.granularity == Granularity::tensor;
  Parts parts;
  // Rows end where words end, so all of them are one stream; then its words go column by column.
  parts.codes = transposed(gptq_stream(unsigned_of(q.codes, layer.half()), layer.bits), layer.out,
                           layer.in * layer.bits / kWord);
  std::vector<std::uint8_t> zeros(static_cast<std::size_t>(units),
                                  static_cast<std::uint8_t>(layer.half()));
  if (has_zero_points(q.spec)) {
    zeros = unsigned_of(q.at.zero_points, layer.half());
    if (one) zeros.assign(static_cast<std::size_t>(units), zeros.front());
  }
  if (layer.zeros == GptqZeros::v1) {
    for (std::uint8_t& z : zeros) {
      if (z == 0) {
        refuse_file(kFormat, t.name,
                    "has a zero point at the lowest code, which readers of v1 read in two ways",
                    "0", "1 or more", "--format gptq_v2 stores it as it is");
      }
      --z;
    }
  }
  parts.zeros = gptq_stream(transposed(zeros, layer.out, layer.groups()), layer.bits);
  std::vector<std::uint16_t> scales;
  for (std::int64_t u = 0; u < units; ++u) {
    const real s = q.at.scales[static_cast<std::size_t>(one ? 0 : u)];
    scales.push_back(to_f16(static_cast<float>(s)));
  }
  parts.scales = transposed(scales, layer.out, layer.groups());
  for (std::int64_t i = 0; i < layer.in; ++i) {
    parts.groups.push_back(static_cast<std::int32_t>(i / layer.group));
  }
  return parts;
}

template <class T>
nn::TensorSource source_of(const std::string& name, nn::DType dtype, const nn::FileShape& shape,
                           const std::vector<T>& values) {
  return nn::raw_tensor(name, dtype, shape, std::as_bytes(std::span(values)));
}

}  // namespace

std::vector<std::uint32_t> gptq_stream(std::span<const std::uint8_t> values, int bits) {
  check(has_width(bits), "gptq", "has no codes of ", bits, " bits");
  check(std::ssize(values) * bits % kWord == 0, "gptq", values.size(), " codes of ", bits,
        " bits fill no words");
  std::vector<std::uint32_t> words(values.size() * static_cast<std::size_t>(bits) / kWord);
  std::size_t at = 0;
  for (const std::uint8_t value : values) {
    const std::size_t word = at / kWord, shift = at % kWord;
    words[word] |= std::uint32_t{value} << shift;
    if (shift + static_cast<std::size_t>(bits) > kWord) {
      words[word + 1] |= std::uint32_t{value} >> (kWord - shift);
    }
    at += static_cast<std::size_t>(bits);
  }
  return words;
}

std::vector<std::uint8_t> gptq_values(std::span<const std::uint32_t> words, int bits) {
  check(has_width(bits), "gptq", "has no codes of ", bits, " bits");
  std::vector<std::uint8_t> values(words.size() * kWord / static_cast<std::size_t>(bits));
  const std::uint32_t mask = (1u << bits) - 1;
  std::size_t at = 0;
  for (std::uint8_t& value : values) {
    const std::size_t word = at / kWord, shift = at % kWord;
    std::uint32_t code = words[word] >> shift;
    if (shift + static_cast<std::size_t>(bits) > kWord) code |= words[word + 1] << (kWord - shift);
    value = static_cast<std::uint8_t>(code & mask);
    at += static_cast<std::size_t>(bits);
  }
  return values;
}

void save_gptq(const nn::Model& model, const Quantized& quantized, const fs::path& dir,
               GptqZeros zeros) {
  check(!quantized.tensors.empty(), dir.string(), "nothing is quantized");
  if (!model.sizes().ranks.empty()) {
    refuse_file(kFormat, "notch.ranks", "its readers have no matrices in two factors", "factors",
                "whole matrices: quantize the model that they were made of");
  }
  const Linears linears(model);
  const nn::FileNames names = model.file_names();
  // Some readers look for the whole name only.
  const auto full_name = [&](const std::string& name) {
    const bool bare = name == names.head || name.starts_with(names.prefix);
    return bare ? name : std::string(names.prefix) + name;
  };
  std::vector<nn::TensorSource> sources;
  std::deque<Parts> kept;
  const NamedQTensor& first = quantized.tensors.front();
  bool symmetric = true, head = false;
  for (nn::FileTensor t : model.file_tensors()) {
    const NamedQTensor* tensor = t.param ? find_named(quantized.tensors, t.param->name) : nullptr;
    t.name = full_name(t.name);
    if (!tensor) {
      if (linears.has(t.param, false)) {
        refuse_file(kFormat, t.param->name,
                    "stays in floating point, and the format has every Linear of the "
                    "blocks on integers",
                    "fp32", name_of(first.q.spec), "quantize without --skip and rules of layers");
      }
      sources.push_back(nn::float_source(t));
      continue;
    }
    if (!linears.has(t.param, true)) {
      refuse_file(kFormat, t.param->name, "a table, and the format has Linears on integers only",
                  name_of(tensor->q.spec), "fp32", "quantize with --embedding fp32");
    }
    const Layer layer = layer_of(*tensor, zeros);
    const Spec &spec = tensor->q.spec, &other = first.q.spec;
    if (spec.bits != other.bits || spec.granularity != other.granularity ||
        spec.group_size != other.group_size) {
      refuse_file(kFormat, t.param->name,
                  "of another width or group than the others, and the format has one",
                  name_of(spec), name_of(other));
    }
    symmetric = symmetric && !has_zero_points(spec);
    head = head || t.param->name == linears.head;
    const Parts& parts = kept.emplace_back(parts_of(*tensor, layer));
    const std::string stem = stem_of(t.name);
    const auto part = [&](std::size_t i) { return stem + std::string(kParts[i]); };
    sources.push_back(source_of(part(0), nn::DType::i32, layer.codes_shape(), parts.codes));
    sources.push_back(source_of(part(1), nn::DType::i32, layer.zeros_shape(), parts.zeros));
    sources.push_back(source_of(part(2), nn::DType::f16, layer.scales_shape(), parts.scales));
    sources.push_back(source_of(part(3), nn::DType::i32, {layer.in}, parts.groups));
  }
  nn::write_safetensors(dir / nn::kWeightsFile, std::move(sources), {{"format", "pt"}});

  Json about = Json::object();
  const bool groups = first.q.spec.granularity == Granularity::group;
  about.set("quant_method", kQuantMethod)
      .set("bits", first.q.spec.bits)
      .set("group_size", groups ? first.q.spec.group_size : std::int64_t{-1})
      .set("desc_act", false)
      .set("sym", symmetric)
      .set("lm_head", head)
      .set("checkpoint_format", word_of(zeros));
  Json config = model.config_json();
  config.set("torch_dtype", "float16").set("quantization_config", about);
  write_file(dir / nn::kConfigFile, config.dump(2) + "\n");
  write_file(dir / kOlderConfig, about.dump(2) + "\n");
  nn::seal_model(dir);
}

}  // namespace notch::quant
