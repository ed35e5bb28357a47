// Learned rounding: block after block, gradients of a block's output choose which way its weights are
// rounded. The loop that AdaRound and SignRound share.
//
// A block gets what the blocks before it, as they ship, make of the calibration text, and is to give
// what the model before rounding gave: L = Σ |y - ŷ|² / Σ |y - y₀|², ŷ₀ with codes to nearest, so that a
// loss of 1 is that of the start. (BRECQ, Li et al. 2021, arXiv:2102.05426.) The head and
// tables, which are in no block, stay as the method rounded them.
#pragma once

#include <functional>
#include <memory>

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
