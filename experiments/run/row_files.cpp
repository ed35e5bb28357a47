#include "experiments/run/row_files.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "autograd/kernels/sha256.h"
#include "experiments/run/row_facts.h"
#include "nn/integrity.h"
#include "quant/store/model_files.h"

namespace notch::experiments {
namespace {

void name_row(const RowResult& row, Json& about) {
  about.set("method", row.method);
  if (!row.label.empty()) about.set("label", row.label);
}

/// What config.json says beside the model's own of one that is not quantized; nothing of fp32 itself in half
/// precision, of which there is nothing to say.
Json made_by(const RowResult& row, Json about) {
  Json more = Json::object();
  if (about.as_object("about").empty()) return more;
  name_row(row, about);
  more.set(kRowKey, std::move(about));
  return more;
}

}  // namespace

std::string write_model(const nn::Model& model, const quant::Quantized& quantized, RowResult& row,
                        const fs::path& dir, Json about) {
  const bool half = quantized.tensors.empty();
  if (half && quantized.masks.empty()) {
    nn::save_model(model, dir, made_by(row, std::move(about)), nn::DType::f16);
    return {};
  }
  if (!half) {
    row.moved = quant::require_activity(quantized, row.name);
    row.layers = std::ssize(quantized.layers);
  }
  note_pruned(quantized, row);
  name_row(row, about);
  quant::save_quantized(model, quantized, dir, about, quant::Coding::packed,
                        half ? nn::DType::f16 : nn::DType::f32);
  if (half) return {};
  return str(row.name, ": ", row.layers, " matrices quantized, rounding moved ",
             static_cast<double>(std::lround(1000 * row.moved)) / 10, " % of their weights");
}

RowResult read_row(const fs::path& file, bool* has_digest) {
  RowResult row = row_from_text(read_file(file), file.string(), has_digest);
  if (row.name == file.stem().string()) return row;
  throw Error({.fault = Fault::input,
               .where = file.string(),
               .what = "is not of this row",
               .field = "name",
               .found = row.name,
               .expected = file.stem().string(),
               .hint = "put the row's own file in its place; a run that is resumed makes the row "
                       "again"});
}

quant::LoadedModel read_model(const fs::path& dir, RowResult& row) {
  nn::require_intact(dir);
  quant::LoadedModel loaded = quant::load_any(dir);
  const fs::path weights = dir / nn::kWeightsFile;
  row.sha256 = kernels::sha256_file(weights);
  row.file_bytes = static_cast<std::int64_t>(fs::file_size(weights));
  row.size = quant::predict_size(
      *loaded.model, {.tensors = std::move(loaded.tensors), .masks = std::move(loaded.masks)},
      row.bits == 16 ? 16 : 32);
  if (row.size.file_bytes() != row.file_bytes) {
    throw Error({.fault = Fault::mismatch,
                 .where = weights.string(),
                 .what = "the file has other bytes than predicted",
                 .found = str(row.file_bytes),
                 .expected = str(row.size.file_bytes())});
  }
  return loaded;
}

bool has_row(const RunDir& dir, std::int64_t seed, std::string_view row) {
  return fs::exists(row_file(dir.path(), seed, row)) &&
         fs::exists(model_folder(dir.path(), seed, row) / nn::kWeightsFile);
}

std::optional<RowResult> finished_row(const fs::path& file, const fs::path& model,
                                      const std::string& name, Progress& progress) {
  std::string trouble = "the artefact is not the one that was scored";
  try {
    RowResult row = row_from_text(read_file(file), file.string());
    if (row.name != name || row.eval.window_tokens.empty()) {
      trouble = file.string() + " is not of this row";
    } else if (row.sha256 == kernels::sha256_file(model / nn::kWeightsFile) &&
               nn::is_intact(model)) {
      return row;
    }
  } catch (const Error& e) {
    if (e.fault() != Fault::input) throw;
    trouble = e.what();
  }
  progress.note(str(name, ": ", trouble, "; made again"));
  return std::nullopt;
}

void remove_checkpoints(const RunDir& dir, std::int64_t seed, const std::string& row) {
  for (const fs::path& phase : entries_of(dir.checkpoints(seed))) {
    if (row_of_phase(phase.filename().string()) == row) fs::remove_all(phase);
  }
}

}  // namespace notch::experiments
