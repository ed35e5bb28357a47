// What a row writes and what a resumed run finds of it: its model, its row file, its checkpoints.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "autograd/base/json.h"
#include "experiments/run/results.h"
#include "experiments/run/run_dir.h"
#include "experiments/show/progress.h"
#include "nn/model.h"
#include "quant/methods/quantized.h"

namespace notch::experiments {

/// The member of config.json that says how a model in floating point was made.
inline constexpr std::string_view kRowKey = "notch_row";

/// Writes the row's model directory, and what rounding did into the row: integers, or where there are none
/// half precision, without the weights that are pruned. `about` is merged into quantization_config, or where
/// there are no integers and masks is kRowKey. Returns what to tell of it, "" for nothing. Throws as
/// quant::require_activity and quant::save_quantized.
std::string write_model(const nn::Model& model, const quant::Quantized& quantized, RowResult& row,
                        const std::filesystem::path& dir, Json about);

/// The row in `file`, as row_from_text. Throws Fault::input also where it has another name than its file: its
/// digest holds for a copy as well.
RowResult read_row(const std::filesystem::path& file, bool* has_digest = nullptr);

/// The model in `dir`, read back; its hash and its bytes go into the row. Throws as nn::require_intact and
/// quant::load_any, and Fault::mismatch where the file has other bytes than predicted.
quant::LoadedModel read_model(const std::filesystem::path& dir, RowResult& row);

/// Whether the row's file and its model are there: a row that is found done unless one of them is damaged.
bool has_row(const RunDir& dir, std::int64_t seed, std::string_view row);

/// The row of `file` whose model in `model` is the one that was scored; nothing, with a note, of any
/// other.
std::optional<RowResult> finished_row(const std::filesystem::path& file,
                                      const std::filesystem::path& model, const std::string& name,
                                      Progress& progress);

/// Removes the checkpoints of all phases in which the row trains.
void remove_checkpoints(const RunDir& dir, std::int64_t seed, const std::string& row);

}  // namespace notch::experiments
