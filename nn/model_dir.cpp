// Weights of a model directory: names, orientation, and what may be missing or too many.
#include "nn/model_dir.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "nn/integrity.h"

namespace notch::nn {
namespace {

constexpr std::int64_t kPieceElements = std::int64_t{1} << 18;  // elements converted at a time

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
  const std::int64_t step =
      std::max<std::int64_t>(1, kPieceElements / std::max<std::int64_t>(1, each));
  for (std::int64_t begin = 0; begin < count; begin += step) {
    use(begin, std::min(count, begin + step));
  }
}

std::span<real> front(std::vector<real>& buffer, std::int64_t n) {
  buffer.resize(std::max(buffer.size(), static_cast<std::size_t>(n)));
  return {buffer.data(), static_cast<std::size_t>(n)};
}

}  // namespace

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

WeightFile::WeightFile(const fs::path& dir, const Model& model)
    : files_(open_weights(dir)),
      dir_(dir),
      names_(model.file_names()),
      tied_(model.head_is_tied()) {}

std::string_view WeightFile::without_prefix(std::string_view name) const {
  return name.starts_with(names_.prefix) ? name.substr(names_.prefix.size()) : name;
}

const SafetensorsFile& WeightFile::file() const {
  if (files_.size() == 1) return files_.front();
  refuse_file(dir_ / kIndexFile, "", "quantized weights in several files",
              str(files_.size(), " files"), std::string(kWeightsFile));
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
  const std::array<std::string, 2> spellings{bare, std::string(names_.prefix) + bare};
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
  return tied_ && bare == names_.table ? find_as_spelled(names_.head) : nullptr;
}

// What stands before `name` where the file has it with more than the prefix in front.
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
    if (prefix.empty()) refuse_file(where, name, "missing tensor", "", to_text(shape));
    refuse_file(
        where, name, "missing tensor", str("the name with \"", prefix, "\" before it"),
        to_text(shape),
        "save the model and not its wrapper: model._orig_mod after torch.compile, model.module "
        "in DistributedDataParallel; or take the prefix from the names");
  }
  if (entry->shape != shape) {
    const bool reversed =
        shape.size() == 2 && entry->shape == FileShape{shape.back(), shape.front()};
    refuse_file(file_of(*entry).path(), entry->name, "shape differs from the config's",
                to_text(entry->shape), to_text(shape),
                reversed ? std::string(names_.reversed) : "");
  }
  required_.insert(entry);
  return *entry;
}

void WeightFile::check_no_others(bool head_is_tied) const {
  for (const SafetensorsFile& file : files_) {
    for (const TensorEntry& entry : file.entries()) {
      if (required_.contains(&entry)) continue;
      if (names_.is_buffer && names_.is_buffer(without_prefix(entry.name))) continue;
      if (head_is_tied && entry.name == names_.head) continue;
      refuse_file(file.path(), entry.name, "extra tensor that the config does not account for",
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
      refuse_file(file.path(), entry->name,
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

void WeightFile::check_tied_head(const Param& table) const {
  const TensorEntry* head = find_as_spelled(names_.head);
  if (!head) return;
  const SafetensorsFile& file = file_of(*head);
  if (head->shape != file_shape(table.value.shape)) {
    refuse_file(file.path(), names_.head, "shape differs from the tied table's",
                to_text(head->shape), to_text(file_shape(table.value.shape)));
  }
  std::vector<real> piece;
  in_pieces(table.value.size(), 1, [&](std::int64_t begin, std::int64_t end) {
    const std::span<real> values = front(piece, end - begin);
    file.read(*head, values, begin);
    if (std::ranges::equal(values, std::span(table.value.data + begin, values.size()))) return;
    refuse_file(file.path(), names_.head,
                str("differs from ", table.name, ", but the config ties them"), "", "",
                "set \"tie_word_embeddings\": false in config.json");
  });
}

void require_tokens(const Model& model, std::int64_t tokens, const fs::path& dir) {
  if (tokens <= model.sizes().vocab_size) return;
  refuse_file(dir, "", "the tokenizer has more tokens than the model", std::to_string(tokens),
              str("at most ", model.sizes().vocab_size));
}

void save_model(const Model& model, const fs::path& dir, const Json& more, DType dtype) {
  std::vector<TensorSource> tensors;
  for (const FileTensor& t : model.file_tensors()) tensors.push_back(float_source(t, dtype));
  Json config = model.config_json();
  if (dtype != DType::f32) config.set("torch_dtype", dtype == DType::f16 ? "float16" : "bfloat16");
  for (const auto& [key, value] : more.as_object("save_model")) config.set(key, value);
  write_file(dir / kConfigFile, config.dump(2) + "\n");
  write_safetensors(dir / kWeightsFile, std::move(tensors), {{"format", "pt"}});
  seal_model(dir);
}

std::unique_ptr<Model> load_model(const fs::path& dir) {
  const Json json = read_config_json(dir);
  std::unique_ptr<Model> model = make_model(json, dir, Model::Values::shapes_only);
  if (quantization_config(json)) {
    refuse_file(dir / kConfigFile, "quantization_config", "a quantized model", "packed weights",
                "floating-point weights");
  }
  WeightFile file(dir, *model);
  const std::vector<FileTensor> tensors = model->file_tensors();
  for (const FileTensor& t : tensors) file.require(t);
  file.check_no_others(model->head_is_tied());
  model->params().allocate_values();
  for (const FileTensor& t : tensors) file.read(t);
  if (model->head_is_tied()) file.check_tied_head(*model->head().weight);
  return model;
}

}  // namespace notch::nn
