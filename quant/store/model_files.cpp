#include "quant/store/model_files.h"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

#include "nn/integrity.h"
#include "quant/numbers/format.h"
#include "quant/store/entropy_coder.h"
#include "quant/store/gptq_checkpoint.h"
#include "quant/store/pack.h"
#include "quant/store/pruned_tensor.h"
#include "quant/store/stored_tensor.h"

namespace notch::quant {
namespace {

constexpr std::string_view kMethod = "notch";
constexpr std::int64_t kVersion = 1;
constexpr std::string_view kRans = "rans";  // the only "coding"

nn::TensorSource bytes_source(std::string name, nn::DType dtype, nn::FileShape shape,
                              const std::vector<std::uint8_t>& bytes) {
  return nn::raw_tensor(std::move(name), dtype, std::move(shape), std::as_bytes(std::span(bytes)));
}

/// The bytes of a static input range; the sources refer to them.
struct StoredRange {
  std::array<std::uint8_t, 4> scale{};
  std::array<std::uint8_t, 1> zero{};

  explicit StoredRange(const UnitScale& at)
      : zero{static_cast<std::uint8_t>(static_cast<std::int8_t>(at.zero_point))} {
    const auto word = std::bit_cast<std::uint32_t>(static_cast<float>(at.scale));
    for (std::size_t i = 0; i < scale.size(); ++i) {
      scale[i] = static_cast<std::uint8_t>(word >> (8 * i));
    }
  }
  std::vector<nn::TensorSource> sources(const std::string& name) const {
    return {
        nn::raw_tensor(name + ".input_scale", nn::DType::f32, {1}, std::as_bytes(std::span(scale))),
        nn::raw_tensor(name + ".input_zero", nn::DType::i8, {1}, std::as_bytes(std::span(zero)))};
  }
};

[[noreturn]] void refuse_config(const std::string& where, const std::string& field,
                                std::string found, std::string expected) {
  throw Error({.fault = Fault::input,
               .where = where,
               .what = "not a quantization this program reads",
               .field = "quantization_config." + field,
               .found = std::move(found),
               .expected = std::move(expected)});
}

/// {"h.0.attn.c_attn.weight": spec, …} of a quantization_config.
std::map<std::string, Spec> read_specs(const Json& config, const std::string& where) {
  const std::string& method = config.at("quant_method", where).as_string(where);
  if (method != kMethod) refuse_config(where, "quant_method", method, str(kMethod, " or gptq"));
  const std::int64_t version = config.at("version", where).as_int(where);
  if (version != kVersion) {
    refuse_config(where, "version", std::to_string(version), std::to_string(kVersion));
  }
  std::map<std::string, Spec> specs;
  for (const auto& [name, spec] : config.at("tensors", where).as_object(where)) {
    specs.emplace(name, spec_from_json(spec, where + ": " + name));
  }
  if (specs.empty() && !config.find("masks"))
    refuse_config(where, "tensors", "{}", "at least one quantized tensor");
  return specs;
}

Coding read_coding(const Json& config, const std::string& where) {
  const Json* coding = config.find("coding");
  if (!coding) return Coding::packed;
  const std::string& name = coding->as_string(where);
  if (name != kRans)
    refuse_config(where, "coding", name, str(kRans, ", or nothing for packed codes"));
  return Coding::entropy;
}

/// {"h.0.attn.c_attn.weight": spec of the input, …}; empty without quantized activations.
std::map<std::string, ActivationSpec> read_inputs(const Json& config,
                                                  const std::map<std::string, Spec>& specs,
                                                  const std::string& where) {
  std::map<std::string, ActivationSpec> inputs;
  const Json* all = config.find("activations");
  if (!all) return inputs;
  for (const auto& [name, spec] : all->as_object(where)) {
    if (!specs.contains(name)) {
      refuse_config(where, "activations." + name, "a layer in floating point",
                    "a quantized tensor");
    }
    inputs.emplace(name, activation_spec_from_json(spec, where + ": activations." + name));
  }
  return inputs;
}

/// The pruned tensors, quantized or not.
std::set<std::string> read_masks(const Json& config, const std::string& where) {
  std::set<std::string> names;
  const Json* all = config.find("masks");
  if (!all) return names;
  for (const Json& entry : all->as_array(where)) names.insert(entry.as_string(where));
  return names;
}

/// What reading a spec alone cannot know: whether its tensor is a matrix that the groups divide.
void check_fits(const Spec& spec, const nn::FileTensor& t, const std::string& where) {
  const std::string field = "tensors." + t.name;
  if (!t.param || t.param->value.shape.rank() != 2) {
    refuse_config(where, field, str("a tensor of shape ", t.shape), "a matrix");
  }
  const std::int64_t cols = t.param->value.cols();
  if (spec.granularity == Granularity::group && cols % spec.group_size != 0) {
    refuse_config(where, field, str("groups of ", spec.group_size), str("a divisor of ", cols));
  }
  const std::int64_t together = spec.granularity == Granularity::group ? spec.group_size : cols;
  if (format_of(spec.grid).has_words() && together % kWordColumns != 0) {
    refuse_config(where, field, str(together, " columns together"),
                  str("a multiple of ", kWordColumns));
  }
}

/// A table that is only looked up has no input.
void check_multiplies(nn::Model& model, const nn::FileTensor& t, bool has_input, const char* field,
                      const std::string& where) {
  if (!has_input || t.param == model.head().weight) return;
  const std::vector<nn::Embedding*> tables = model.embeddings();
  if (std::ranges::find(tables, t.param, &nn::Embedding::weight) == tables.end()) return;
  refuse_config(where, str(field, ".", t.name), "a table that is only looked up",
                "a layer with an input");
}

/// What becomes of quantized matrices: numbers to be looked at, or a model to be run.
enum class Purpose : std::uint8_t { inspected, run };

/// To be run, matrices are served; else only those whose layers round their inputs. The parameters
/// of what is served get no values.
LoadedModel load_quantized(const fs::path& dir, const Json& json, Purpose purpose) {
  const std::string where = (dir / nn::kConfigFile).string();
  const Json& about = *nn::quantization_config(json);
  std::map<std::string, Spec> specs = read_specs(about, where);
  const Coding coding = read_coding(about, where);
  const std::map<std::string, ActivationSpec> inputs = read_inputs(about, specs, where);
  const InputPartNames parts = InputPartNames::read(about, specs, where);
  std::set<std::string> pruned = read_masks(about, where);
  std::unique_ptr<nn::Model> model = nn::make_model(json, dir, nn::Model::Values::shapes_only);
  nn::WeightFile file(dir, *model);
  std::vector<PackedEntry> packed;
  std::vector<nn::FileTensor> floats;
  std::vector<KeptWeights> kept;
  for (const nn::FileTensor& t : model->file_tensors()) {
    const auto spec = specs.find(t.name);
    const bool masked = pruned.erase(t.name) > 0;
    if (masked && (!t.param || t.param->value.shape.rank() != 2))
      refuse_config(where, "masks", str(t.name, " of shape ", t.shape), "matrices");
    if (spec == specs.end() && masked) {
      kept.emplace_back(*model->params().find(t.param->name), t.name, file);
      continue;
    }
    if (spec == specs.end()) {
      file.require(t);
      floats.push_back(t);
      continue;
    }
    check_fits(spec->second, t, where);
    if (masked && format_of(spec->second.grid).has_own_levels()) {
      refuse_config(where, "masks", str(t.name, " on the ", name_of(spec->second.grid), " grid"),
                    "a grid with a zero");
    }
    const auto input = inputs.find(t.name);
    check_multiplies(*model, t, input != inputs.end(), "activations", where);
    const char* const list = parts.list_of(t.name);
    check_multiplies(*model, t, *list != 0, list, where);
    packed.emplace_back(*model->params().find(t.param->name), t.name, spec->second, coding,
                        input == inputs.end() ? std::nullopt : std::optional(input->second), parts,
                        masked, file);
    specs.erase(spec);
  }
  if (!specs.empty()) {
    throw Error({.fault = Fault::input,
                 .where = where,
                 .what = "the model has no such tensor",
                 .field = "quantization_config.tensors." + specs.begin()->first});
  }
  if (!pruned.empty())
    refuse_config(where, "masks", *pruned.begin(), "names of the model's tensors");
  // A copy of a tied table may lie beside it in floating point, but not beside integers.
  const Param& head = *model->head().weight;
  const bool head_may_follow =
      model->head_is_tied() &&
      std::ranges::any_of(floats, [&](const nn::FileTensor& t) { return t.param == &head; });
  file.check_no_others(head_may_follow);
  check_expansion(packed, file.file().path());

  // What is served needs no second copy. Positions are added, not multiplied.
  const nn::Embedding* positions = model->position_table();
  const auto is_served = [&](const PackedEntry& entry) {
    const bool added = positions && positions->weight == entry.param;
    return entry.input || (purpose == Purpose::run && !added);
  };
  std::unordered_map<const Param*, const PackedEntry*> entries;
  for (const PackedEntry& entry : packed) entries.emplace(entry.param, &entry);
  model->params().allocate_values([&](const Param& p) {
    const auto entry = entries.find(&p);
    return entry == entries.end() || !is_served(*entry->second);
  });
  LoadedModel loaded{.quantization_config = about, .coding = coding};
  std::map<const Param*, InputChange> changes;
  for (const PackedEntry& entry : packed) {
    if (InputChange change = entry.change.read(file); !change.empty())
      changes.emplace(entry.param, std::move(change));
  }
  if (!changes.empty()) {  // before the links that multiply: it makes what they get
    loaded.changes = std::make_unique<InputChanges>(*model, changes);
  }
  for (const nn::FileTensor& t : floats) file.read(t);
  for (const KeptWeights& k : kept) loaded.masks.push_back(k.read(file));
  if (head_may_follow) file.check_tied_head(head);
  ServedLayers::Matrices matrices;
  for (const PackedEntry& entry : packed) {
    if (purpose == Purpose::run && is_served(entry)) {
      matrices.emplace(entry.param, entry.read_served(file));
      continue;
    }
    Keep keep = entry.read_keep(file);
    NamedQTensor tensor{entry.param->name, entry.read(file, keep), entry.read_input(file), {}};
    if (const auto at = changes.find(entry.param); at != changes.end()) tensor.change = at->second;
    if (entry.mask) loaded.masks.push_back({tensor.name, std::move(keep)});
    if (entry.coded)
      loaded.streams.emplace(tensor.name, PackedEntry::read_bytes(file, *entry.coded));
    if (!tensor.input) dequantize(tensor.q, entry.param->value.flat());
    loaded.tensors.push_back(std::move(tensor));
  }
  if (!matrices.empty())
    loaded.served = std::make_unique<ServedLayers>(*model, std::move(matrices));
  else if (!inputs.empty())
    loaded.served = std::make_unique<ServedLayers>(*model, loaded.tensors);
  loaded.model = std::move(model);
  return loaded;
}

}  // namespace

void save_quantized(const nn::Model& model, const Quantized& quantized, const fs::path& dir,
                    const Json& about, Coding coding, nn::DType floats) {
  check(!quantized.tensors.empty() || !quantized.masks.empty(), dir.string(),
        "nothing is quantized");
  std::vector<nn::TensorSource> sources;
  std::vector<PackedTensor> packed;  // the sources refer to its bytes
  packed.reserve(quantized.tensors.size());
  CodedStreams streams;
  std::deque<StoredRange> ranges;
  std::deque<std::vector<std::uint8_t>> masks;
  std::deque<std::vector<real>> kept;
  std::deque<InputParts> parts;
  InputPartNames part_names;
  Json specs = Json::object(), inputs = Json::object(), pruned = Json::array();
  const int float_bits = floats == nn::DType::f16 ? 16 : 32;
  int bits = quantized.tensors.empty() ? float_bits : 8;
  for (const nn::FileTensor& t : model.file_tensors()) {
    const NamedQTensor* tensor = find_named(quantized.tensors, t);
    const NamedMask* mask = find_named(quantized.masks, t);
    if (mask) {
      pruned.push(t.name);
      const auto& bytes =
          masks.emplace_back(pack_mask(mask->keep, t.param->value.rows(), t.param->value.cols()));
      sources.push_back(bytes_source(t.name + ".mask", nn::DType::u8, mask_shape(*t.param), bytes));
    }
    if (!tensor && mask) {
      const auto& w = kept.emplace_back(kept_of<real>(t.param->value.flat(), mask->keep));
      sources.push_back(nn::real_tensor(t.name + ".kept", {std::ssize(w)}, w, floats));
      continue;
    }
    if (!tensor) {
      sources.push_back(nn::float_source(t, floats));
      continue;
    }
    const QTensor* q = &tensor->q;
    PackedTensor& p = packed.emplace_back(pack(*q));
    StoredShapes shapes = stored_shapes(q->spec, q->rows, q->cols);
    std::vector<std::int8_t> codes = q->codes;
    if (mask) {
      validate(mask->keep, *q, t.name);
      codes = kept_of<std::int8_t>(q->codes, mask->keep);
      p.codes = pack_codes(codes, 1, std::ssize(codes), q->spec);
      shapes.codes = {std::ssize(p.codes)};
    }
    if (coding == Coding::entropy) {
      const auto& stream = streams[tensor->name] = encode_codes(codes, grid_of(q->spec));
      sources.push_back(
          bytes_source(t.name + ".coded", nn::DType::u8, {std::ssize(stream)}, stream));
    } else {
      sources.push_back(bytes_source(t.name + ".codes", nn::DType::u8, shapes.codes, p.codes));
    }
    std::span<const std::uint8_t> scales = p.scales;
    for (ScalePart& part : scale_parts(q->spec, q->rows, q->cols)) {
      const auto bytes = scales.first(static_cast<std::size_t>(part.bytes()));
      scales = scales.subspan(bytes.size());
      sources.push_back(nn::raw_tensor(t.name + part.name, part.dtype, std::move(part.shape),
                                       std::as_bytes(bytes)));
    }
    if (!p.codebooks.empty()) {
      sources.push_back(
          bytes_source(t.name + ".codebooks", nn::DType::f16, shapes.codebooks, p.codebooks));
    }
    if (has_zero_points(q->spec)) {
      sources.push_back(bytes_source(t.name + ".zero", nn::DType::u8, shapes.zero, p.zero_points));
    }
    specs.set(t.name, to_json(q->spec));
    if (tensor->input) inputs.set(t.name, to_json(tensor->input->spec));
    if (has_stored_range(*tensor)) {
      for (nn::TensorSource& source : ranges.emplace_back(tensor->input->at).sources(t.name)) {
        sources.push_back(std::move(source));
      }
    }
    const auto& own = parts.emplace_back(*tensor, t.name).sources();
    sources.insert(sources.end(), own.begin(), own.end());
    part_names.add(*tensor, t.name);
    bits = std::min(bits, q->spec.bits);
  }
  check(packed.size() == quantized.tensors.size(), dir.string(), quantized.tensors.size(),
        " quantized tensors, of which the model has ", packed.size());
  Json config = model.config_json();
  Json quantization = Json::object();
  quantization.set("quant_method", kMethod).set("version", kVersion).set("bits", bits);
  if (coding == Coding::entropy) quantization.set("coding", kRans);
  for (const auto& [key, value] : about.as_object("about")) quantization.set(key, value);
  quantization.set("tensors", specs);
  if (!inputs.as_object("inputs").empty()) quantization.set("activations", inputs);
  part_names.write(quantization);
  if (!masks.empty()) quantization.set("masks", pruned);
  config.set("quantization_config", quantization);
  write_file(dir / nn::kConfigFile, config.dump(2) + "\n");
  nn::write_safetensors(dir / nn::kWeightsFile, std::move(sources), quantized_metadata());
  nn::seal_model(dir);

  const std::int64_t predicted =
      predict_size(model, quantized, float_bits, coding, Entropy::unknown, streams).file_bytes();
  const auto written = static_cast<std::int64_t>(fs::file_size(dir / nn::kWeightsFile));
  if (predicted == written) return;
  throw Error({.fault = Fault::mismatch,
               .where = (dir / nn::kWeightsFile).string(),
               .what = "the file has other bytes than predicted",
               .found = std::to_string(written),
               .expected = std::to_string(predicted)});
}

RunnableModel load_runnable(const fs::path& dir) {
  const Json json = nn::read_config_json(dir);
  ServedLayers::Matrices matrices;
  const std::optional<Json> gptq = gptq_config(dir, json);
  LoadedModel loaded = gptq                            ? load_gptq(dir, json, *gptq, &matrices)
                       : nn::quantization_config(json) ? load_quantized(dir, json, Purpose::run)
                                                       : LoadedModel{.model = nn::load_model(dir)};
  if (!matrices.empty())
    loaded.served = std::make_unique<ServedLayers>(*loaded.model, std::move(matrices));
  RunnableModel out{.model = std::move(loaded.model),
                    .changes = std::move(loaded.changes),
                    .served = std::move(loaded.served)};
  if (out.served) out.weight_bytes += out.served->bytes();
  for (const Param& p : out.model->params().params())
    if (p.value.data) out.weight_bytes += p.value.size() * std::int64_t{sizeof(real)};
  return out;
}

LoadedModel load_any(const fs::path& dir) {
  const Json json = nn::read_config_json(dir);
  if (const std::optional<Json> gptq = gptq_config(dir, json)) return load_gptq(dir, json, *gptq);
  if (nn::quantization_config(json)) return load_quantized(dir, json, Purpose::inspected);
  return {.model = nn::load_model(dir)};
}

}  // namespace notch::quant
