// SpQR: GPTQ in small groups, in which the few weights that rounding would hurt most are kept in 16
// bits beside the codes (Dettmers et al. 2023, arXiv:2306.03078, algorithm 1).
//
// When the sweep reaches a group of a row, the weights whose leave-one-out gain
// (quant/methods/leave_one_out.h, a_j = R_jj: GPTQ's weight of an error in column j) is above
//   τ = threshold · mean over columns j of  var over rows(w_j) R_jj²
// are its outliers: the range is that of the rest, and of an outlier what its code leaves is added in
// float16, so that nothing but float16's error is passed on. Where they are: one sparse matrix per
// layer, 16 bits of value and 16 of column each, and 32 per row (quant/store/input_parts.h). The paper's
// scales of scales are the type scale = "bilevel" (quant/numbers/nested_scales.h); they are chosen before
// the codes. It takes groups of 16 with 3 or 4 bits on the grid "asymmetric".
// Deviations: a) an outlier's 16 bits hold the rest behind its code, not the weight, which is closer and
// suits grids without a zero; b) who is an outlier is decided once, at the group's start, as in the
// paper's algorithm (its code decides again at rounding); c) zero points are codes, as everywhere here,
// not numbers with scales of their own; d) columns go in their own order (gptq.act_order has no say), so
// that groups are neighbours; e) ranges of the rest are [gptq]'s, the paper's gptq.clip = "absmax". A
// table that is the head as well has no outliers: what is looked up would lack them.
#pragma once

#include <span>

#include "autograd/base/field.h"
#include "quant/methods/method.h"

namespace notch::quant {

struct SpqrOptions {
  double threshold = 0.2;
  bool operator==(const SpqrOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.threshold, {"threshold",
                       "a weight stays in 16 bits where that takes away more of its group's error "
                       "than this many mean errors of rounding all to 0",
                       above(0)});
  }
};

/// The numbers `values` [rows, cols] that are not 0, as a sparse product. Usage error naming `where` for
/// more columns than 16 bits count.
SideProduct sparse_product(std::span<const real> values, std::int64_t rows, std::int64_t cols,
                           std::string_view where);

extern const Method kSpqr;

}  // namespace notch::quant
