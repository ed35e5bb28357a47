// Method: a row of the comparison, and what its function gets and gives.
//
// A method chooses codes for a matrix (`round`), or for the whole model by training through the
// rounding (`training`, quant/train/qat.h). All methods take the same plan, the same calibration text and
// the same evaluation; they end in QTensors. A method is a file that ends in its row,
// `const Method kName{…}`; quant/methods/methods.cpp lists the rows.
#pragma once

#include <cstdint>
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
  bool hessian = false;     ///< their second moments
  bool drift = false;       ///< and how far they have drifted from the model's before rounding
  bool magnitudes = false;  ///< and the mean of |x| of each channel
};

enum class Training : std::uint8_t { none, ste, lsq };

/// What a method sees of the matrix that it rounds.
struct MatrixView {
  const Target& target;
  std::span<const real> w{};   ///< [rows, cols], 0 where they are pruned
  const Hessian* H = nullptr;  ///< null unless the method asks for it and the matrix multiplies
  std::span<const std::uint8_t> keep{};  ///< 0 where a weight has to stay 0; empty: nowhere
  std::span<const real> dense{};         ///< the weights before pruning; empty: w
  std::span<const real> before() const { return dense.empty() ? w : dense; }
  std::int64_t rows() const { return target.weight->value.rows(); }
  std::int64_t cols() const { return target.weight->value.cols(); }
};

/// What to divide the channels of an input by, and to multiply the columns of the matrices that
/// read it by: the products stay the same. Empty: by 1.
struct Divisors {
  std::vector<real> s{};
  std::vector<Measure> measures{};
};

struct Rounded {
  QTensor q{};
  std::vector<Measure> measures{};
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
  /// Scales moved from inputs into weights before anything is rounded, from the targets that read
  /// one input and its moments; null: none. Needs the Hessian.
  Divisors (*transform)(std::span<const Target* const> targets, const Hessian& H) = nullptr;
  /// Codes for one matrix; null where they follow from training.
  Rounded (*round)(const MatrixView& matrix, const PostTrainingOptions& options) = nullptr;
  Training training = Training::none;
  bool distills = false;       ///< training learns from the fp32 model's outputs
  std::string_view section{};  ///< of a configuration that has its options; "" for none
  std::span<const LayerFigure> layer_figures{};
  std::span<const RowFigure> row_figures{};

  bool trains() const { return training != Training::none; }
};

}  // namespace notch::quant
