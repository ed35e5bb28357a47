// The sweep of GPTQ: every row of W on its way through the columns. quant/gptq.h has the algorithm.
#pragma once

#include <cstdint>
#include <span>

#include "autograd/base/real.h"
#include "quant/gptq_factor.h"
#include "quant/qtensor.h"
#include "quant/ranges.h"

namespace notch::quant {

struct Sweep {
  const ColumnOrder& order;
  const HessianFactor& factor;
  std::int64_t block = 128;     ///< columns between updates of the rest; speed only
  bool dynamic_groups = false;  ///< scales of a group from the weights when it is reached
  RangeRule range = RangeRule::mse;
};

/// Rounds w [q.rows, q.cols]: writes q.codes and, of dynamic groups, the scales; other scales are
/// read. losses[r] = Σ_j (t_j - ŵ_j)² R_jj² over live columns, t the weights as they are when they
/// are rounded; not finite where a row diverged. Parallel over rows.
void sweep(const Sweep& sweep, std::span<const real> w, QTensor& q, std::span<double> losses);

}  // namespace notch::quant
