// Weights of a model directory: names, orientation, and what may be missing or too many.
#include "nn/model_dir.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace notch::nn {
namespace {

constexpr std::string_view kPrefix = "transformer.";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kTable = "wte.weight";
constexpr std::int64_t kPiece = std::int64_t{1} << 18;  // elements converted at a time

[[noreturn]] void refuse(const fs::path& path, std::string_view tensor, std::string what,
                         std::string found = "", std::string expected = "", std::string hint = "") {
  throw Error({.fault = Fault::input,
               .where = path.string(),
               .what = std::move(what),
               .field = std::string(tensor),
               .found = std::move(found),
               .expected = std::move(expected),
               .hint = std::move(hint)});
}

std::string_view without_prefix(std::string_view name) {
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

// h.<digits>.attn.bias or h.<digits>.attn.masked_bias: the causal mask, which older versions of
// transformers stored.
bool is_mask_buffer(std::string_view name) {
  name = without_prefix(name);
  if (!name.starts_with("h.")) return false;
  name.remove_prefix(2);
  const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  name.remove_prefix(digits);
  return digits > 0 && (name == ".attn.bias" || name == ".attn.masked_bias");
}

// to [cols, rows] <- from [rows, cols]; only columns [begin, end) of `from`.
void transpose_columns(std::span<real> to, std::span<const real> from, std::int64_t rows,
                       std::int64_t cols, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const real* row = from.data() + r * cols;
    for (std::int64_t c = begin; c < end; ++c)
      to[static_cast<std::size_t>((c - begin) * rows + r)] = row[c];
  }
}

// Calls use(begin, end) for ranges of [0, count) whose elements, `each` apiece, fit a piece.
template <class Use>
void in_pieces(std::int64_t count, std::int64_t each, const Use& use) {
  const std::int64_t step = std::max<std::int64_t>(1, kPiece / std::max<std::int64_t>(1, each));
  for (std::int64_t begin = 0; begin < count; begin += step) {
    use(begin, std::min(count, begin + step));
  }
}

std::span<real> front(std::vector<real>& buffer, std::int64_t n) {
  buffer.resize(std::max(buffer.size(), static_cast<std::size_t>(n)));
  return {buffer.data(), static_cast<std::size_t>(n)};
}

}  // namespace

std::vector<FileTensor> file_tensors(const Gpt& model) {
  const GptConfig& config = model.config();
  const auto file_name = [&](const std::string& name) {
    return config.tie_embeddings || name == kHead ? name : std::string(kPrefix) + name;
  };
  std::vector<FileTensor> tensors;
  for (const Param& p : model.params().params()) {
    const Shape& shape = p.value.shape;
    const bool layer =
        p.name.starts_with("h.") || p.name.starts_with("ln_f.");  // no table, no head
    const bool transposed = layer && shape.rank() == 2;
    const bool weight = p.name.ends_with(".weight");
    tensors.push_back(
        {&p, file_name(p.name), transposed ? Shape{shape[1], shape[0]} : shape, transposed});
    if (!config.bias && layer && weight) {
      const std::string stem = p.name.substr(0, p.name.size() - std::string_view("weight").size());
      tensors.push_back({nullptr, file_name(stem + "bias"), Shape{shape[0]}, false});
    }
  }
  return tensors;
}

TensorSource float_source(const FileTensor& t, DType dtype) {
  const Tensor values = t.param ? t.param->value : Tensor{};
  check(!t.param || values.data, t.name, "has no values to write");
  return {t.name, dtype, file_shape(t.shape), [t, values, dtype](const ByteSink& sink) {
            std::vector<real> piece;
            if (!t.param) {
              put_reals(sink, dtype, front(piece, t.shape.size()));
            } else if (!t.transposed) {
              put_reals(sink, dtype, values.flat());
            } else {
              const std::int64_t out = values.shape[0], in = values.shape[1];
              in_pieces(in, out, [&](std::int64_t begin, std::int64_t end) {
                const std::span<real> rows = front(piece, (end - begin) * out);
                transpose_columns(rows, values.flat(), out, in, begin, end);
                put_reals(sink, dtype, rows);
              });
            }
          }};
}

const SafetensorsFile& WeightFile::file() const {
  if (files_.size() == 1) return files_.front();
  refuse(dir_ / kIndexFile, "", "quantized weights in several files", str(files_.size(), " files"),
         std::string(kWeightsFile));
}

const SafetensorsFile& WeightFile::file_of(const TensorEntry& entry) const {
  const auto holds = [&](const SafetensorsFile& file) {
    const std::vector<TensorEntry>& entries = file.entries();
    return !entries.empty() && &entry >= &entries.front() && &entry <= &entries.back();
  };
  return *std::ranges::find_if(files_, holds);
}

const TensorEntry* WeightFile::find_as_spelled(std::string_view name) const {
  for (const SafetensorsFile& file : files_) {
    if (const TensorEntry* entry = file.find(name)) return entry;
  }
  return nullptr;
}

const TensorEntry* WeightFile::find(std::string_view name) const {
  const std::string bare(without_prefix(name));
  const std::array<std::string, 2> spellings{bare, std::string(kPrefix) + bare};
  for (const std::string& spelling : spellings) {
    if (const TensorEntry* entry = find_as_spelled(spelling)) return entry;
  }
  // Of tensors that share memory save_pretrained writes one, and notes its name for the others.
  for (const std::string& spelling : spellings) {
    for (const SafetensorsFile& file : files_) {
      const auto noted = file.metadata().find(spelling);
      if (noted == file.metadata().end()) continue;
      if (const TensorEntry* entry = find_as_spelled(noted->second)) return entry;
    }
  }
  return tied_ && bare == kTable ? find_as_spelled(kHead) : nullptr;
}

// What stands before `name` where the file has it with more than "transformer." in front.
std::string WeightFile::prefix_before(std::string_view name) const {
  const std::string ending = str('.', without_prefix(name));
  for (const SafetensorsFile& file : files_) {
    for (const TensorEntry& entry : file.entries()) {
      if (!entry.name.ends_with(ending)) continue;
      return entry.name.substr(0, entry.name.size() - ending.size() + 1);
    }
  }
  return {};
}

const TensorEntry& WeightFile::require(std::string_view name, const FileShape& shape) {
  const TensorEntry* entry = find(name);
  if (!entry) {
    const fs::path where = files_.size() == 1 ? files_.front().path() : dir_ / kIndexFile;
    const std::string prefix = prefix_before(name);
    if (prefix.empty()) refuse(where, name, "missing tensor", "", to_text(shape));
    refuse(where, name, "missing tensor", str("the name with \"", prefix, "\" before it"),
           to_text(shape),
           "save the model and not its wrapper: model._orig_mod after torch.compile, model.module "
           "in DistributedDataParallel; or take the prefix from the names");
  }
  if (entry->shape != shape) {
    const bool reversed =
        shape.size() == 2 && entry->shape == FileShape{shape.back(), shape.front()};
    refuse(file_of(*entry).path(), entry->name, "shape differs from the config's",
           to_text(entry->shape), to_text(shape),
           reversed ? "GPT-2's files hold c_attn, c_proj and c_fc as [in, out]; transpose those of "
                      "a model with nn.Linear, as nanoGPT's is"
                    : "");
  }
  required_.insert(entry);
  return *entry;
}

void WeightFile::check_no_others(bool head_is_tied) const {
  for (const SafetensorsFile& file : files_) {
    for (const TensorEntry& entry : file.entries()) {
      if (required_.contains(&entry) || is_mask_buffer(entry.name)) continue;
      if (head_is_tied && entry.name == kHead) continue;
      refuse(file.path(), entry.name, "extra tensor that the config does not account for",
             to_text(entry.shape), "nothing", "does config.json belong to these weights?");
    }
  }
}

void WeightFile::read(const FileTensor& t) const {
  const TensorEntry* entry = find(t.name);
  check(entry && entry->shape == file_shape(t.shape), t.name, "was not required before");
  const SafetensorsFile& file = file_of(*entry);
  std::vector<real> piece;
  const std::int64_t cols = t.shape.last(), rows = t.shape.size() / cols;
  in_pieces(rows, cols, [&](std::int64_t begin, std::int64_t end) {
    const std::span<real> values = front(piece, (end - begin) * cols);
    file.read(*entry, values, begin * cols);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool zero_wanted = !t.param;
      if (std::isfinite(values[i]) && (values[i] == 0 || !zero_wanted)) continue;
      refuse(file.path(), entry->name,
             zero_wanted ? "not zero, but config.json says the model has no biases"
                         : "holds a value that is not finite",
             str(values[i], " at element ", begin * cols + static_cast<std::int64_t>(i)),
             zero_wanted ? "0" : "finite values");
    }
    if (!t.param) return;
    real* to = t.param->value.data;
    if (!t.transposed) {
      std::ranges::copy(values, to + begin * cols);
    } else {  // file rows are our columns
      for (std::int64_t out = 0; out < cols; ++out) {
        for (std::int64_t in = begin; in < end; ++in) {
          to[out * rows + in] = values[static_cast<std::size_t>((in - begin) * cols + out)];
        }
      }
    }
  });
}

void WeightFile::check_tied_head(const Param& wte) const {
  const TensorEntry* head = find_as_spelled(kHead);
  if (!head) return;
  const SafetensorsFile& file = file_of(*head);
  if (head->shape != file_shape(wte.value.shape)) {
    refuse(file.path(), kHead, "shape differs from the tied table's", to_text(head->shape),
           to_text(file_shape(wte.value.shape)));
  }
  std::vector<real> piece;
  in_pieces(wte.value.size(), 1, [&](std::int64_t begin, std::int64_t end) {
    const std::span<real> values = front(piece, end - begin);
    file.read(*head, values, begin);
    if (std::ranges::equal(values, std::span(wte.value.data + begin, values.size()))) return;
    refuse(file.path(), kHead, "differs from wte.weight, but the config ties them", "", "",
           "set \"tie_word_embeddings\": false in config.json");
  });
}

void save_model(const Gpt& model, const fs::path& dir, const Json& more, DType dtype) {
  std::vector<TensorSource> tensors;
  for (const FileTensor& t : file_tensors(model)) tensors.push_back(float_source(t, dtype));
  write_safetensors(dir / kWeightsFile, std::move(tensors), {{"format", "pt"}});
  Json config = config_json(model.config());
  if (dtype != DType::f32) config.set("torch_dtype", dtype == DType::f16 ? "float16" : "bfloat16");
  for (const auto& [key, value] : more.as_object("save_model")) config.set(key, value);
  write_file(dir / kConfigFile, config.dump(2) + "\n");
}

std::unique_ptr<Gpt> load_model(const fs::path& dir) {
  const Json json = read_config_json(dir);
  const GptConfig config = parse_config(json, dir / kConfigFile);
  if (quantization_config(json)) {
    refuse(dir / kConfigFile, "quantization_config", "a quantized model", "packed weights",
           "floating-point weights");
  }
  WeightFile file(dir, config.tie_embeddings);
  auto model = std::make_unique<Gpt>(config, Gpt::Values::shapes_only);
  const std::vector<FileTensor> tensors = file_tensors(*model);
  for (const FileTensor& t : tensors) file.require(t);
  file.check_no_others(config.tie_embeddings);
  model->params().allocate_values();
  for (const FileTensor& t : tensors) file.read(t);
  if (config.tie_embeddings) file.check_tied_head(*model->head().weight);
  return model;
}

}  // namespace notch::nn
