// Layer study: what each matrix of the fp32 model is like to quantize, before rows are made of it.
//
// Made once per run, of its first seed, and kept in layers.json, so that a report can be made again
// without the model: how loud the channels are that a matrix reads, how its weights lie in their
// ranges, the noise of rounding at every width, and what it costs to round this matrix alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/run/results.h"
#include "experiments/run/setup.h"
#include "experiments/show/progress.h"

namespace notch::experiments {

inline constexpr const char* kLayerStudy = "layers.json";  ///< in seed-<N>/

struct LayerStudy {
  std::string name{};
  std::int64_t weights = 0;
  /// Of the input's channels, root mean squares over tokens: the largest over the median, and how
  /// many are over six times the median. Zero for a table that is only looked up.
  double loudest = 0;
  std::int64_t outliers = 0;
  /// Shares of the weights over w / max|w| of their unit, in equal bins of [-1, 1].
  std::vector<double> histogram{};
  /// 10 log10(Σ w² / Σ (w - ŵ)²) at 2, 3, … 8 bits: nearest codes of narrow grids, no clipping.
  std::vector<double> sqnr_db{};
  /// By the run's widths: the loss with this matrix alone rounded to nearest on the row's grid,
  /// minus the loss of fp32, on the same windows.
  std::vector<double> loss_change{};
};

struct ModelStudy {
  std::string sha256{};             ///< of the fp32 model's file
  std::vector<std::string> rows{};  ///< whose grids loss_change is of, one per width
  std::int64_t tokens = 0;          ///< of the validation split that losses are means over
  std::vector<int> bits{};          ///< of loss_change
  std::vector<LayerStudy> layers{};
};

inline constexpr int kStudyBins = 64, kStudyLowest = 2, kStudyHighest = 8;

/// Of `model`, which is as it was on return. Grids are those of the first row of each width in
/// `config`; activations are left in floating point. Empty where no row quantizes; nothing when a stop
/// was requested.
std::optional<ModelStudy> study_layers(const ExperimentConfig& config, const Data& data,
                                       nn::Model& model);

/// Of the first seed of a run: writes the study of its fp32 model, whose row is `seed`'s first, into
/// the seed's folder, unless one of that model and these rows is there. False when a stop was requested.
bool keep_study(const std::filesystem::path& folder, const SeedResults& seed,
                const ExperimentConfig& config, const Data& data, nn::Model& model,
                Progress& progress);

Json to_json(const ModelStudy& study);
/// Throws Fault::input naming `where`.
ModelStudy study_from_json(const Json& json, std::string_view where);

}  // namespace notch::experiments
