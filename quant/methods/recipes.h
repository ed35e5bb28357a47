// Recipes: the methods of the comparison, one row each.
//
// A recipe chooses codes for a matrix (`round`), possibly after training through the rounding. All
// recipes take the same plan, the same calibration text and the same evaluation; they end in
// QTensors. A new combination is a new row of kRecipes; a new algorithm is one function of type
// Round and its row.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/methods/gptq.h"
#include "quant/methods/plan.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/ranges.h"

namespace notch::quant {

struct PostTrainingOptions {
  GptqOptions gptq{};
  bool true_sequential = false;  ///< layer after layer inside a block, not block after block
  double percentile = kWeightPercentile;  ///< of rtn-percentile
};

/// What rounding one matrix reports besides its codes.
struct LayerReport {
  std::string name{};
  Spec spec{};
  double moved = 0;         ///< share of weights whose value changed
  double weight_error = 0;  ///< Σ (w - ŵ)² / Σ w²
  GptqReport gptq{};        ///< zeros unless a Hessian was used
};

/// Fills `moved` and `weight_error` from a matrix before and after rounding.
void measure_rounding(std::span<const real> before, std::span<const real> after,
                      LayerReport& report);

/// Codes for one matrix. `H` is null unless the recipe asks for a Hessian and the matrix
/// multiplies.
using Round = QTensor (*)(const Target& target, const Hessian* H,
                          const PostTrainingOptions& options, LayerReport& report);

enum class Training : std::uint8_t { none, ste, lsq };

struct Recipe {
  std::string_view name{};
  std::string_view source{};
  Round round = nullptr;  ///< null where the integers follow from training
  Training training = Training::none;
  bool needs_hessian = false;
  bool needs_reference =
      false;  ///< and how far inputs have drifted from the model's before rounding
  bool distills = false;
};

/// The nearest codes, with scales chosen by `rule`.
QTensor round_nearest(const Target& target, RangeRule rule, double percentile = kWeightPercentile);
QTensor round_absmax(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);
QTensor round_mse(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);
QTensor round_percentile(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);
QTensor round_entropy(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);
QTensor round_gptq(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);
/// GPTQ of asymmetric_target; where drift is not known, as of a tied table, round_gptq.
QTensor round_gptaq(const Target&, const Hessian*, const PostTrainingOptions&, LayerReport&);

inline constexpr std::array kRecipes{
    Recipe{.name = "rtn", .source = "round to nearest, absmax range", .round = round_absmax},
    Recipe{
        .name = "rtn-mse", .source = "round to nearest, least-squares range", .round = round_mse},
    Recipe{.name = "rtn-percentile",
           .source = "round to nearest, a share of the weights inside the range",
           .round = round_percentile},
    Recipe{.name = "rtn-entropy",
           .source = "round to nearest, range of the least KL divergence (Migacz 2017)",
           .round = round_entropy},
    Recipe{.name = "gptq",
           .source = "Frantar et al. 2022",
           .round = round_gptq,
           .needs_hessian = true},
    Recipe{.name = "gptaq",
           .source = "Li et al. 2025",
           .round = round_gptaq,
           .needs_hessian = true,
           .needs_reference = true},
    Recipe{.name = "qat-ste", .source = "Bengio et al. 2013", .training = Training::ste},
    Recipe{.name = "qat-lsq", .source = "Esser et al. 2020", .training = Training::lsq},
    Recipe{.name = "qat-ste-kd",
           .source = "STE, distilled from the fp32 model",
           .training = Training::ste,
           .distills = true},
    Recipe{.name = "qat-lsq-kd",
           .source = "LSQ, distilled from the fp32 model",
           .training = Training::lsq,
           .distills = true},
};

/// The row of that name; usage error with recipe_hint for any other.
const Recipe& recipe(std::string_view name);
/// What to do about a name that no row has; may be empty.
std::string recipe_hint(std::string_view name);
std::vector<std::string> recipe_names();

enum class Recipes { all, post_training, trained };
/// "rtn, rtn-mse, …" for help texts and hints.
const std::string& recipe_list(Recipes which = Recipes::all);

/// A quantized model: the codes of its targets. Everything else is in the model's parameters.
struct Quantized {
  std::vector<NamedQTensor> tensors{};
  std::vector<LayerReport> layers{};
};

/// Share of the quantized weights whose value rounding changed; a numeric error when it is 0: then
/// nothing was quantized.
double require_activity(const Quantized& quantized, std::string_view where);

/// Quantizes the targets after training, stage after stage: the statistics of a stage see its
/// quantized predecessors. Hidden states are kept per stage; every stage runs once to observe and
/// once to go on, and a recipe with a reference also runs the stage as it was before rounding, on
/// hidden states of its own. `calibration` is token batches. While the walk runs, a table that is
/// looked up stands at its round-to-nearest values; the codes of a tied table are chosen last, for
/// both its uses (quant/methods/tied_table.h). On return the parameters hold the dequantized weights.
Quantized post_training(nn::ModelView& model, const Recipe& recipe, std::span<const Target> targets,
                        std::span<const nn::Tokens> calibration,
                        const PostTrainingOptions& options);

}  // namespace notch::quant
