// GPTQ checkpoints read: ours, and those that other programs wrote.
#include <algorithm>
#include <numeric>
#include <set>

#include "autograd/base/names.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/gptq_layout.h"

namespace notch::quant {

using namespace gptq_file;

namespace {

/// The members of a quantization_config that decide what the tensors mean.
struct Settings {
  int bits = 0;
  std::int64_t group = 0;  ///< 0: all inputs
  GptqZeros zeros = GptqZeros::v1;
  bool head = false;
  bool any_order = false;  ///< of the groups: only g_idx tells which
};

Settings read_settings(const Json& about, const fs::path& path) {
  const std::string where = path.string() + ": quantization_config";
  const auto find = [&](std::string_view key) -> const Json* {
    const Json* value = about.find(key);
    return value && !value->is_null() ? value : nullptr;
  };
  const auto refuse_key = [&](const std::string& key, std::string found, std::string expected) {
    refuse_file(path, "quantization_config." + key, "not a quantization this program reads",
                std::move(found), std::move(expected));
  };
  Settings s;
  const std::int64_t bits = about.at("bits", where).as_int(where + ".bits");
  if (!has_width(bits)) refuse_key("bits", str(bits), "2, 3, 4 or 8");
  s.bits = static_cast<int>(bits);
  const std::int64_t group = about.at("group_size", where).as_int(where + ".group_size");
  if (group != -1 && (group < 1 || group > (1 << 20)))
    refuse_key("group_size", str(group), "-1, or 1 to 1048576");
  s.group = group == -1 ? 0 : group;
  if (const Json* format = find("checkpoint_format")) {
    const std::string& word = format->as_string(where + ".checkpoint_format");
    const std::optional<GptqZeros> zeros = value_of<GptqZeros>(word);
    if (!zeros) refuse_key("checkpoint_format", word, joined(words_of<GptqZeros>(), " or "));
    s.zeros = *zeros;
  }
  if (const Json* head = find("lm_head")) s.head = head->as_bool(where + ".lm_head");
  if (const Json* order = find("desc_act")) s.any_order = order->as_bool(where + ".desc_act");
  if (const Json* type = find("pack_dtype")) {
    const std::string& word = type->as_string(where + ".pack_dtype");
    if (word != "int32") refuse_key("pack_dtype", word, "int32");
  }
  if (const Json* rules = find("dynamic"); rules && rules->dump() != "{}")
    refuse_key("dynamic", rules->dump().substr(0, 80), "one width for all layers");
  return s;
}

/// A matrix in the file.
struct Stored {
  Param* param = nullptr;
  std::string stem{};
  Layer layer{};
  bool groups_named = false;  ///< by size, also where all inputs of the matrix are one
  const nn::TensorEntry *codes = nullptr, *zeros = nullptr, *scales = nullptr, *groups = nullptr;
};

Stored require_matrix(const nn::FileTensor& t, Param& param, const Settings& settings,
                      nn::WeightFile& file, const fs::path& path) {
  Stored s{.param = &param, .stem = stem_of(t.name)};
  const std::int64_t out = param.value.rows(), in = param.value.cols();
  s.layer = {.bits = settings.bits,
             .out = out,
             .in = in,
             .group = settings.group == 0 ? in : settings.group,
             .zeros = settings.zeros};
  s.groups_named = settings.group > 0;
  if (in % s.layer.group != 0 || in * s.layer.bits % kWord != 0 ||
      out * s.layer.bits % kWord != 0) {
    refuse_file(
        path, s.stem, "the extents do not fit the width and the groups",
        str("[", out, ", ", in, "]"),
        str("multiples of ", kWord / std::gcd(kWord, s.layer.bits), ", inputs of ", s.layer.group));
  }
  const auto require = [&](std::string_view part, const nn::FileShape& shape, bool integers) {
    const nn::TensorEntry& entry = file.require(s.stem + std::string(part), shape);
    if (integers ? entry.dtype == nn::DType::i32 : nn::is_real(entry.dtype)) return &entry;
    refuse_file(file.file().path(), entry.name, "of another type than the format has",
                std::string(nn::name(entry.dtype)), integers ? "I32" : "F16");
  };
  s.codes = require(kParts[0], s.layer.codes_shape(), true);
  s.zeros = require(kParts[1], s.layer.zeros_shape(), true);
  s.scales = require(kParts[2], s.layer.scales_shape(), false);
  if (settings.any_order || file.find(s.stem + std::string(kParts[3]))) {
    s.groups = require(kParts[3], {in}, true);
  }
  return s;
}

template <class T>
std::vector<T> read_all(const nn::SafetensorsFile& file, const nn::TensorEntry& entry) {
  std::vector<T> values(entry.bytes / sizeof(T));
  file.read_bytes(entry, std::as_writable_bytes(std::span(values)));
  return values;
}

ScaleType scale_type(nn::DType dtype) {
  return dtype == nn::DType::f16    ? ScaleType::f16
         : dtype == nn::DType::bf16 ? ScaleType::bf16
                                    : ScaleType::f32;
}

/// The grid on which all codes, zero points and scales lie.
GridKind grid_of_values(const QTensor& q, std::span<const std::int8_t> zeros) {
  if (std::ranges::any_of(zeros, [](std::int8_t z) { return z != 0; })) return GridKind::asymmetric;
  if (std::ranges::any_of(q.at.scales, [](real s) { return s < 0; })) return GridKind::signed_max;
  const int lowest = -(1 << (q.spec.bits - 1));
  const bool full = std::ranges::any_of(q.codes, [&](std::int8_t c) { return c == lowest; });
  return full ? GridKind::full : GridKind::narrow;
}

std::vector<std::int8_t> signed_of(const std::vector<std::uint8_t>& values, int half) {
  std::vector<std::int8_t> out;
  out.reserve(values.size());
  for (const std::uint8_t u : values) out.push_back(static_cast<std::int8_t>(int{u} - half));
  return out;
}

QTensor read_matrix(const nn::SafetensorsFile& file, const Stored& s) {
  const Layer& layer = s.layer;
  const std::string where = file.path().string() + ": " + s.stem;
  if (s.groups) {
    const std::vector<std::int32_t> groups = read_all<std::int32_t>(file, *s.groups);
    for (std::int64_t i = 0; i < layer.in; ++i) {
      const std::int32_t g = groups[static_cast<std::size_t>(i)];
      if (g == i / layer.group) continue;
      refuse_file(
          file.path(), s.groups->name, "groups are not in the order of the inputs",
          str("group ", g, " of input ", i), str(i / layer.group),
          "such a checkpoint (desc_act) runs in GPTQModel; quantize again without desc_act");
    }
  }
  QTensor q{.spec = {.bits = layer.bits, .scale = scale_type(s.scales->dtype)},
            .rows = layer.out,
            .cols = layer.in};
  if (s.groups_named) {
    q.spec.granularity = Granularity::group;
    q.spec.group_size = layer.group;
  }
  q.codes = signed_of(gptq_values(transposed(read_all<std::uint32_t>(file, *s.codes),
                                             layer.in * layer.bits / kWord, layer.out),
                                  layer.bits),
                      layer.half());
  std::vector<std::uint8_t> stored = transposed(
      gptq_values(read_all<std::uint32_t>(file, *s.zeros), layer.bits), layer.groups(), layer.out);
  if (layer.zeros == GptqZeros::v1) {
    for (std::uint8_t& z : stored) {
      if (z == 2 * layer.half() - 1) {
        refuse_file(file.path(), s.zeros->name,
                    "has a zero point that readers of v1 read in two ways",
                    str("0 or ", 2 * layer.half()), str("1 to ", 2 * layer.half() - 1));
      }
      ++z;
    }
  }
  const std::vector<std::int8_t> zeros = signed_of(stored, layer.half());
  std::vector<real> scales(static_cast<std::size_t>(s.scales->size()));
  file.read(*s.scales, scales);
  q.at.scales = transposed(scales, layer.groups(), layer.out);
  q.spec.grid = grid_of_values(q, zeros);
  if (has_zero_points(q.spec)) q.at.zero_points = zeros;
  validate(q, where);
  return q;
}

}  // namespace

std::optional<Json> gptq_config(const fs::path& dir, const Json& config) {
  const Json* about = nn::quantization_config(config);
  std::optional<Json> older;
  std::error_code error;
  if (const fs::path path = dir / kOlderConfig; !about && fs::exists(path, error)) {
    older = Json::parse(read_file(path, 1 << 20), path.string(), NonFinite::allowed);
    about = &*older;
  }
  if (!about) return std::nullopt;
  const std::string where = (dir / nn::kConfigFile).string() + ": quantization_config";
  about->as_object(where);
  const Json* method = about->find("quant_method");
  const bool named = method && !method->is_null();
  // AutoGPTQ's first files do not name themselves.
  if (named ? method->as_string(where) != kQuantMethod : !older) return std::nullopt;
  return *about;
}

LoadedModel load_gptq(const fs::path& dir, const Json& config, const Json& about,
                      ServedLayers::Matrices* packed) {
  const fs::path path = dir / nn::kConfigFile;
  const Settings settings = read_settings(about, path);
  std::unique_ptr<nn::Model> model = nn::make_model(config, dir, nn::Model::Values::shapes_only);
  nn::WeightFile file(dir, *model);
  const Linears linears(*model);
  std::vector<Stored> matrices;
  std::vector<nn::FileTensor> floats;
  const std::vector<nn::FileTensor> tensors = model->file_tensors();
  std::set<std::string_view> names;
  for (const nn::FileTensor& t : tensors) names.insert(t.name);
  for (const nn::FileTensor& t : tensors) {
    if (!linears.has(t.param, settings.head)) {
      file.require(t);
      floats.push_back(t);
      continue;
    }
    matrices.push_back(
        require_matrix(t, *model->params().find(t.param->name), settings, file, path));
    // Some programs write a bias of zeros for a Linear that has none.
    const nn::FileTensor bias{nullptr, matrices.back().stem + ".bias",
                              Shape{t.param->value.rows()}};
    if (names.contains(bias.name) || !file.find(bias.name)) continue;
    file.require(bias);
    floats.push_back(bias);
  }
  file.check_no_others(model->head_is_tied());
  std::set<const Param*> served;
  if (packed)
    for (const Stored& s : matrices) served.insert(s.param);
  model->params().allocate_values([&](const Param& p) { return !served.contains(&p); });
  for (const nn::FileTensor& t : floats) file.read(t);
  if (model->head_is_tied()) file.check_tied_head(*model->head().weight);
  LoadedModel loaded{.quantization_config = about};
  for (const Stored& s : matrices) {
    NamedQTensor tensor{.name = s.param->name, .q = read_matrix(file.file(), s)};
    if (packed) {
      packed->try_emplace(s.param, tensor.q);
      continue;
    }
    dequantize(tensor.q, s.param->value.flat());
    loaded.tensors.push_back(std::move(tensor));
  }
  loaded.model = std::move(model);
  return loaded;
}

bool is_gptq_part(std::string_view name) {
  return std::ranges::any_of(kParts, [&](std::string_view part) { return name.ends_with(part); });
}

SizeReport gptq_size(SizeReport size, const fs::path& dir) {
  size.code_bytes = size.scale_bytes = size.zero_point_bytes = size.float_bytes = 0;
  std::int64_t files = 0;
  for (const nn::SafetensorsFile& file : nn::open_weights(dir)) {
    files += static_cast<std::int64_t>(fs::file_size(file.path()));
    for (const nn::TensorEntry& e : file.entries()) {
      std::int64_t& bytes = e.name.ends_with(kParts[1])   ? size.zero_point_bytes
                            : e.name.ends_with(kParts[2]) ? size.scale_bytes
                            : is_gptq_part(e.name)        ? size.code_bytes
                                                          : size.float_bytes;
      bytes += static_cast<std::int64_t>(e.bytes);
    }
  }
  size.header_bytes = files - size.bytes();
  return size;
}

}  // namespace notch::quant
