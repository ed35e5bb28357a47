// Results of one seed: a row per artefact, as the seed's row files keep them
// (seed-<N>/rows/<name>.json).
//
// A row file is written after its artefact has been read back and scored, so its presence means
// that the row is complete: that is all a resumed run has to look at.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/config/row_names.h"
#include "experiments/run/evaluate.h"
#include "quant/store/model_files.h"

namespace notch::experiments {

/// What the method of a row measured, by the key of its quant::RowFigure.
using Figures = std::map<std::string, double, std::less<>>;

/// RowResult::method of a row that is made in stages; its label says which.
inline constexpr std::string_view kPipelineMethod = "pipeline";

/// Of experiments/run/sample_text.h.
struct TextSample {
  std::string prompt{}, text{};
};

struct RowResult {
  std::string name{};    ///< unique: "gptq-int4", "control-gptq-int4", "rtn-int8-tensor"
  std::string method{};  ///< recipe, "fp32", "fp16", "fp32-continue"
  std::string label{};   ///< the user's, shown in the method's place; "" if there is none
  int bits = 32;
  std::string granularity{};  ///< "channel", "group 32"; "" for floating point
  std::string grid{};         ///< "narrow [-7,7]"
  bool on_control = false;    ///< made from `control` instead of fp32
  bool trained = false;       ///< got the extra steps (QAT and the controls themselves)
  bool distilled = false;     ///< had a teacher
  bool aims_at_data = false;  ///< trained on labels, so that it can pass fp32
  /// Name of the row it is compared with in fp32's place (experiments/run/row_facts.h); "" if there is
  /// none.
  std::string control{};
  std::string unlike_control{};  ///< settings it trained with and its control did not: "ema=0.98"
  Evaluation eval{};
  std::optional<double> accuracy{};  ///< of the task, in [0, 1]
  quant::SizeReport size{};
  std::int64_t file_bytes = 0;  ///< model.safetensors, with its header
  std::int64_t layers = 0;      ///< quantized matrices
  double moved = 0;             ///< share of their weights that rounding changed
  double seconds = 0;           ///< training or rounding, without evaluation
  Figures figures{};
  std::string sha256{};  ///< of model.safetensors
  std::string build{};   ///< of notch that made and scored it; "" in files of builds that kept none
  std::string scored_on{};  ///< scored_hash of then; as `build`
  TextSample sample{};      ///< empty in files of builds that made none
};

struct SeedResults {
  std::int64_t seed = 0;
  std::vector<RowResult> rows{};
};

/// "control", "control lr=0.0005": a control by its name.
std::string control_title(std::string_view name);
/// The controls of a table, "fp32-continue" first.
std::vector<const RowResult*> controls_of(const SeedResults& results);

/// The label of a row, or else its method: what it is called.
const std::string& shown_method(const RowResult& row);

/// "gptq", "gptq of control", "qat-lsq seq": a row among those of its width.
std::string label(const RowResult& row);

/// The largest change of a window's mean loss from `base` to `row`, in nats per token.
double worst_window(const RowResult& row, const RowResult& base);

Json to_json(const RowResult& row);
/// Throws Fault::input naming `where` for anything missing, of another type, or out of the range
/// that a run can write.
RowResult row_from_json(const Json& json, std::string_view where);

/// A row file: the row, and last its digest, the SHA-256 of the line without it.
std::string row_text(const RowResult& row);
/// Throws as row_from_json, and where the digest is another. Files of earlier builds have none;
/// `has_digest` tells.
RowResult row_from_text(std::string_view text, const std::string& where,
                        bool* has_digest = nullptr);

/// The row of that name, or null; and one that has to be there: usage error naming it where it is not.
const RowResult* find_row(const SeedResults& results, std::string_view name);
const RowResult& row_of(const SeedResults& results, std::string_view name);

/// The first seed, which has rows; usage error naming `where` if there is none.
const SeedResults& first_seed(const std::vector<SeedResults>& seeds, std::string_view where);

/// Which rows which build of notch made, where there is more than one: rows of two builds may
/// differ for that alone. "" otherwise.
std::string build_notes(const std::vector<SeedResults>& seeds);

/// One hash over every row's name, artefact and loss, in order: equal runs have equal hashes,
/// whenever and however often they were interrupted. (Seconds are not in it.)
std::string results_hash(const std::vector<SeedResults>& seeds);

}  // namespace notch::experiments
