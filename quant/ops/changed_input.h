// A changed input on the tape: quant/numbers/named_qtensor.h says what changes, this makes it ready to
// be run.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "autograd/graph.h"
#include "quant/numbers/activation.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/ops/sparse_linear.h"

namespace notch::quant {

/// Dense, and with memory that outlives a step.
struct RunnableChange {
  InputMap map{};                ///< of x; zeros where the side product has the channels
  std::vector<real> down{}, up{};  ///< [rank, cols], [rows, rank]
  std::int64_t rank = 0;         ///< 0: no side product, or a sparse one
  std::optional<SideProduct> sparse{};
  std::int64_t width = 0;  ///< of x, where it is sparse

  RunnableChange() = default;
  /// The change of a layer with so many inputs.
  RunnableChange(const InputChange& change, std::int64_t cols);
};

/// (x downᵀ) upᵀ or x Sᵀ; nothing without a side product. The change must outlive the step.
std::optional<Var> side_product(Var x, const RunnableChange& change);

}  // namespace notch::quant
