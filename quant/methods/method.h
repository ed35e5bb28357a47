// Method: a row of the comparison, and what its function gets and gives.
//
// A method chooses codes for a matrix (`round`), or for the whole model by training through the
// rounding (`training`, quant/train/qat.h). All methods take the same plan, the same calibration text and
// the same evaluation; they end in QTensors. A method is a file that ends in its row,
// `const Method kName{…}`; quant/methods/methods.cpp lists the rows.
//
// quant/methods/ turns weights into codes after training, and prunes: a file per method.
// May include: quant/ops, quant/numbers, quant/kernels, nn, autograd.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"
#include "quant/numbers/qtensor.h"

namespace notch::quant {

class Hessian;
struct PostTrainingOptions;

/// What reports compare a method with: round-to-nearest is the baseline of everything else.
enum class Family : std::uint8_t { baseline, post_training, trained };

/// What a method has to know about the inputs of a layer before it rounds its weights.
struct Needs {
  bool text = false;        ///< nothing of them, but the calibration text itself
  bool hessian = false;     ///< their second moments
  bool drift = false;       ///< and how far they have drifted from the model's before rounding
  /// For `transform` alone: the mean and the maximum of |x| of each channel, with the second moments if
  /// `hessian`;
  bool magnitudes = false;
  bool sample = false;  ///< and about kSampleRows of them
  bool reads_text() const { return text || hessian; }
};

inline constexpr std::int64_t kSampleRows = 512;

enum class Training : std::uint8_t {
  none,
  ste,       ///< weights, through ranges that follow them
  lsq,       ///< weights and steps
  gaussian,  ///< rotated weights, through ranges of a normal distribution as wide as they are
  scales,    ///< scales alone, of codes that stay
  adapters,  ///< low-rank products beside codes that stay
};

/// What a method sees of the matrix that it rounds.
struct MatrixView {
  const Target& target;
  std::span<const real> w{};   ///< [rows, cols], 0 where they are pruned
  const Hessian* H = nullptr;  ///< null unless the method asks for it and the matrix multiplies
  std::span<const std::uint8_t> keep{};  ///< 0 where a weight has to stay 0; empty: nowhere
  std::span<const real> dense{};         ///< the weights before pruning; empty: w
  std::span<const real> before() const { return dense.empty() ? w : dense; }
  /// Whether its rows are also, or only, looked up: a product beside it would be missing there.
  bool is_table() const { return target.linear == nullptr || target.linear->name != target.name; }
  std::int64_t rows() const { return target.weight->value.rows(); }
  std::int64_t cols() const { return target.weight->value.cols(); }
};

/// What becomes of an input, and of the matrices that read it, before anything is rounded; the
/// products stay the same. At most one of the three.
struct Transform {
  /// The channels are divided by these and the columns multiplied by them.
  std::vector<real> divide{};
  /// Input and matrices are rotated (quant/kernels/hadamard.h), with these signs.
  std::vector<std::int8_t> signs{};
  /// These channels are multiplied beside the rest, with float16 weights. Ascending.
  std::vector<std::int32_t> apart{};
  std::vector<Measure> measures{};
};

struct Rounded {
  QTensor q{};
  std::vector<Measure> measures{};
  std::optional<SideProduct> side{};  ///< what makes up for rounding, of a method that says so
};

/// A model after the walk: what a method that goes on from there reads and changes.
struct Refinement {
  nn::Model& model;            ///< its parameters are the dequantized codes
  const nn::Model& reference;  ///< as it was before
  std::span<const Target> targets;
  std::span<const nn::Tokens> text;
  Quantized& quantized;  ///< codes and scales may change, grids may not; so may the parameters
};

/// How a measure of a layer is printed.
struct LayerFigure {
  std::string_view key{}, title{};
  int decimals = 3;
};

/// What a method reports of a whole model.
struct RowFigure {
  std::string_view key{};    ///< in results.jsonl: "gptq_damp"
  std::string_view title{};  ///< of the report's column
  int decimals = 3;
  bool percent = false;                                         ///< a share, shown in percent
  double (*of)(std::span<const LayerReport> layers) = nullptr;  ///< those with measures
};

struct Method {
  std::string_view name{};
  std::string_view source{};
  Family family = Family::post_training;
  Needs needs{};
  /// What becomes of the one input that `targets` read, of which (as it is in floating point) H
  /// keeps what `needs` names; null: none.
  Transform (*transform)(std::span<const Target* const> targets, const Hessian& H,
                         const PostTrainingOptions& options) = nullptr;
  /// Codes for one matrix; null where they follow from training.
  Rounded (*round)(const MatrixView& matrix, const PostTrainingOptions& options) = nullptr;
  bool adds_side_products = false;  ///< `round` does
  /// `round` knows grids whose levels are the matrix's own (quant/numbers/own_levels.h).
  bool own_levels = false;
  /// The only grid that a row of it names; null: any. Layers that are kept on others it rounds, too.
  std::optional<GridKind> grid{};
  /// Better codes for the whole model, from those of `round`; null: they stay. Reads the text.
  void (*refine)(const Refinement& work, const PostTrainingOptions& options) = nullptr;
  Training training = Training::none;
  /// Whose codes training begins with where qat.from names no method; null: it needs none.
  const Method* base = nullptr;
  bool distills = false;            ///< training learns from the fp32 model's outputs
  std::string_view section{};       ///< of a configuration that has its options; "" for none
  std::string_view base_section{};  ///< likewise of the method whose codes it begins with
  std::span<const LayerFigure> layer_figures{};
  std::span<const RowFigure> row_figures{};

  bool trains() const { return training != Training::none; }
  /// Whether training changes weights, or else scales or adapters beside codes that stay.
  bool trains_weights() const {
    return training != Training::scales && training != Training::adapters;
  }
  bool reads(std::string_view of) const {
    return !of.empty() && (section == of || base_section == of);
  }
  /// Whether codes alone say what it makes of a model: training can go on from them.
  bool changes_inputs() const { return transform != nullptr || adds_side_products; }
};

}  // namespace notch::quant
