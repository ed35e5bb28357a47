// GPTQ: round column after column, and let the columns still to come absorb the error.
//
// Minimises tr((W - Q) H (W - Q)ᵀ), the error of a layer y = x Wᵀ on its inputs, over codes Q,
// given H = mean of x xᵀ. Source: Frantar et al. 2022 (arXiv:2210.17323), algorithm 1, in the form
// of Babai's nearest plane (Chen et al. 2025, arXiv:2507.18553), which gives the same codes:
//   H + λI = R Rᵀ (R upper);   for columns j:  Q_j = round(W_j + Σ_{i<j} (W_i - Q_i) R_ij / R_jj)
// The paper's U with (H + λI)⁻¹ = Uᵀ U is R⁻¹, so its Err_j, a rounding error over U_jj, is that
// error times R_jj; the squares sum up to the minimised error. One factorization replaces a
// factorization, an inverse and a second factorization, and no inverse loses digits.
// Deviations:
//   a) H has no factor 2: it cancels;
//   b) columns that were never active (H_ii = 0) are rounded to nearest instead of set to zero:
//      calibration text is finite;
//   c) updates are applied in ascending order of columns with no reassociation, so the block size
//      changes nothing, bit for bit;
//   d) the scales of a group are chosen from the updated weights, also inside a block, and may be
//      searched by the output error;
//   e) if the factorization fails, the damping is multiplied by ten, up to 1, and reported.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/base/field.h"
#include "autograd/base/real.h"
#include "quant/methods/hessian.h"
#include "quant/methods/method.h"
#include "quant/numbers/qtensor.h"
#include "quant/numbers/ranges.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

struct ColumnOrder;
struct DampedCholesky;

/// Where GPTQ's ranges end.
enum class Clip : std::uint8_t {
  absmax,  ///< at the extremes
  mse,     ///< where the weights' squared error is least (RangeRule::mse)
  /// From there, of nine multiples (kClipMultiples) every row, or every row's dynamic group, keeps
  /// the one with which the sweep itself leaves the least output error. Rounding is repeated for
  /// each, and where more than 256 columns share a range, for 1 and the three that promise most: what
  /// the targets of the first sweep lose at the other ranges foretells their own loss to about
  /// 1.4/√columns. Multiples beyond the extremes are not tried.
  output,
  /// At `deviations` standard deviations of a unit's weights about their mean, whether or not that
  /// clips any. Wide ranges leave codes that compress well.
  deviations,
};
constexpr auto names(Clip) {
  return std::array<std::string_view, 4>{"absmax", "mse", "output", "deviations"};
}

struct GptqOptions {
  double damp = 0.01;
  bool act_order = true;         ///< ties by index
  bool true_sequential = false;  ///< layer after layer inside a block, not block after block
  /// Implied by act_order, which would otherwise need a group index per column at inference.
  bool static_groups = false;
  Clip clip = Clip::output;
  double deviations = 3;
  double asymmetric = 0.25;
  std::int64_t block = 128;
  bool operator==(const GptqOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.damp, {"damp", "times the mean of the Hessian's diagonal; raised by itself where needed",
                  between(0, 1)});
    v(self.act_order, {"act_order", "columns with the largest inputs first"});
    v(self.true_sequential, {"true_sequential", "layer after layer inside a block"});
    v(self.static_groups, {"static_groups", "group scales from the original weights"});
    v(self.clip, {"clip",
                  "ranges: absmax, least squares of the weights (mse), least error of the layer's "
                  "output, or standard deviations"});
    v(self.deviations,
      {"deviations", "clip = \"deviations\": half the width of a range, in deviations", above(0)});
    v(self.asymmetric,
      {"asymmetric",
       "gptaq: share of the way to the weights that suit the quantized layers' inputs best",
       between(0, 1)});
    v(self.block, {"block", "columns per update; changes the speed only", between(1, 65536)});
  }

  /// The rule of first ranges, and of matrices without a Hessian.
  RangeRule range() const { return clip == Clip::absmax ? RangeRule::absmax : RangeRule::mse; }
};

/// Errors are tr(dW H dWᵀ): mean squared change of the layer's output per token, summed over
/// outputs. "Damped" uses H + λI, without the dead columns, which is what GPTQ minimises.
struct GptqReport {
  double damp = 0;                ///< fraction that was used, after raising
  std::int64_t dead_columns = 0;  ///< inputs that were always zero
  bool static_groups = false;     ///< as used
  double condition = 0;           ///< lower bound on cond(H + λI): (max R_jj / min R_jj)²
  double damped_error = 0;        ///< Σ over columns and rows of Err²
  double error = 0;               ///< undamped
  double rtn_error = 0;           ///< undamped, of round-to-nearest with the same range rule
};  // of an asymmetric target: against that target, not against the original weights

/// SpQR's (quant/methods/spqr.h): which weights of a group are kept beside the codes, and what of them.
struct Outliers {
  /// In mean errors of rounding a column to 0: the leave-one-out gain above which a weight is one.
  double threshold = std::numeric_limits<double>::infinity();
  std::vector<real>* rests = nullptr;  ///< gets w - ŵ [rows, cols] of float16, 0 where there is none
  bool any() const { return threshold < std::numeric_limits<double>::infinity(); }
};

struct GptqResult {
  QTensor q{};  ///< codes in the original order of columns
  GptqReport report{};
};

/// Quantizes w [rows, cols] given H [cols, cols] (symmetric, both triangles). With H = c·I, or any
/// diagonal H, the result equals quantize(w, choose_scales(w, range)) exactly. Where `keep` [rows,
/// cols] is 0 the code is that of 0, and the columns after it make up for the weight as they do for a
/// rounding error (SparseGPT's update, Frantar and Alistarh 2023, arXiv:2301.00774); columns then go in
/// their own order, in which such masks are chosen. With outliers, too, and scales are chosen group
/// after group. Grids with levels of the matrix's own: learned levels count a column's errors by H_jj + λ
/// (as SqueezeLLM does), the rest is quant/methods/own_levels_sweep.h; what Clip::output searches is there,
/// other rules change nothing. Parallel over rows.
/// Errors name `where`: usage (sizes, options); numeric (a weight or H not finite, a negative H_ii,
/// no factorization even with damp = 1). `made`: H's factor in gptq_order (quant/methods/gptq_factor.h),
/// with the same damping, of a caller that had to make it; it is used up, and spares the factorization.
GptqResult gptq(std::span<const real> w, std::int64_t rows, std::int64_t cols, const Spec& spec,
                std::span<const double> H, const GptqOptions& options, std::string_view where,
                std::span<const std::uint8_t> keep = {}, const Outliers& outliers = {},
                DampedCholesky* made = nullptr);

/// The order in which it takes the columns: that of options.act_order but under a mask, with outliers, and
/// where columns share words, which have their own. Errors as its.
ColumnOrder gptq_order(std::span<const double> H, std::int64_t cols, const Spec& spec,
                       const GptqOptions& options, std::string_view where,
                       std::span<const std::uint8_t> keep = {}, const Outliers& outliers = {});

/// `gptq` of a target for a matrix, under its mask; round-to-nearest where there is no Hessian.
Rounded round_by_gptq(const MatrixView& matrix, std::span<const real> target,
                      const GptqOptions& options, const Outliers& outliers = {});
/// The same with the weights as the target, those that are pruned as they were: the sweep makes up for
/// them too.
Rounded round_by_gptq(const MatrixView& matrix, const PostTrainingOptions& options);
/// A result with what GPTQ and its descendants report of it.
Rounded measured(GptqResult result);

/// What GPTQ and its descendants report.
inline constexpr LayerFigure kGptqLayerFigures[] = {{"output_error", "output error", 6},
                                                    {"rtn_output_error", "of rtn", 6},
                                                    {"damp", "", 3},
                                                    {"condition", "", 0},
                                                    {"dead_inputs", "dead", 0}};
inline constexpr RowFigure kGptqRowFigures[] = {
    {"gptq_error_share", "output error, % of rtn's", 1, true,
     [](std::span<const LayerReport> layers) {
       const double of_rtn = total(layers, "rtn_output_error");
       return of_rtn > 0 ? total(layers, "output_error") / of_rtn : 1;
     }},
    {"gptq_condition", "worst condition", 0, false,
     [](std::span<const LayerReport> layers) { return largest(layers, "condition"); }},
    {"gptq_damp", "largest damping", 3, false,
     [](std::span<const LayerReport> layers) { return largest(layers, "damp"); }}};

extern const Method kGptq;

}  // namespace notch::quant
