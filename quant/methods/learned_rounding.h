// Learned rounding: block after block, gradients of a block's output choose which way its weights are
// rounded. The loop that AdaRound and SignRound share.
//
// A block gets what the blocks before it, as they ship, make of the calibration text, and is to give
// what the model before rounding gave: L = Σ |y - ŷ|² / Σ |y - y₀|², ŷ₀ with codes to nearest, so that a
// loss of 1 is that of the start. (BRECQ, Li et al. 2021, arXiv:2102.05426.) The head and
// tables, which are in no block, stay as the method rounded them.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "quant/methods/method.h"

namespace notch::quant {

/// One matrix while its rounding is learned.
class LearnedRounding {
 public:
  virtual ~LearnedRounding() = default;
  /// First values, once its parameters have memory.
  virtual void begin() = 0;
  /// The weights of this step. The matrix must outlive it.
  virtual Var weights(Graph& g) = 0;
  /// Updates after a backward pass; `done` in [0, 1) is the share of the steps before this one,
  /// `loss` L of this step's windows.
  virtual void step(double done, double loss) = 0;
  /// The matrix on its codes.
  virtual QTensor settled() const = 0;
};

/// A learner of the target's rounding, whose weights before it are w and whose codes to nearest are q.
using MakeLearner = std::function<std::unique_ptr<LearnedRounding>(
    const Target& target, std::span<const real> w, const QTensor& q, ParamStore& store)>;

/// Learns every block's matrices for `steps` updates of `windows` contexts each, puts their codes into
/// `work`, and reports a block's L at the end as "block_error" of its first matrix. The learners'
/// parameters are declared in `store`, which gets memory when all of the block are made.
void learn_rounding(const Refinement& work, int steps, int windows, const MakeLearner& make);

/// The same by a Learner(target, w, q, store, options) for each matrix.
template <class Learner, class Options>
void learn_by(const Refinement& work, const Options& options) {
  learn_rounding(work, options.steps, options.windows,
                 [&](const Target& t, std::span<const real> w, const QTensor& q,
                     ParamStore& store) -> std::unique_ptr<LearnedRounding> {
                   return std::make_unique<Learner>(t, w, q, store, options);
                 });
}

/// Parameters' values at the least loss. Losses of single windows are noisy: the least is looked for
/// in a running mean.
class BestValues {
 public:
  explicit BestValues(std::vector<const Param*> params)
      : params_(std::move(params)), values_(params_.size()) {}

  /// Takes the values as they are.
  void keep() {
    for (std::size_t i = 0; i < params_.size(); ++i) {
      const std::span<const real> now = params_[i]->value.flat();
      values_[i].assign(now.begin(), now.end());
    }
  }
  /// Takes them if `loss`, which is theirs, makes the least mean so far.
  void see(double loss) {
    constexpr double kMemory = 0.9;
    mean_ = mean_ < 0 ? loss : kMemory * mean_ + (1 - kMemory) * loss;
    if (!(mean_ < least_)) return;
    least_ = mean_;
    keep();
  }
  /// Those of the i-th parameter.
  std::span<const real> of(std::size_t i) const { return values_[i]; }

 private:
  std::vector<const Param*> params_;
  std::vector<std::vector<real>> values_;
  double mean_ = -1, least_ = std::numeric_limits<double>::infinity();
};

/// What methods of learned rounding report.
inline constexpr LayerFigure kLearnedLayerFigures[] = {
    {"block_error", "block's error, of rtn's", 3}};
inline constexpr RowFigure kLearnedRowFigures[] = {
    {"block_error", "blocks' error, % of rtn's", 1, true, [](std::span<const LayerReport> layers) {
       double sum = 0, blocks = 0;
       for (const LayerReport& l : layers) {
         if (l.measures.empty()) continue;
         sum += measure(l, "block_error");
         ++blocks;
       }
       return blocks > 0 ? sum / blocks : 1;
     }}};

}  // namespace notch::quant
