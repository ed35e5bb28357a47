// StepSplit: a Profile as people read it: op by op over all blocks, and forward, backward,
// quantizer, optimizer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/profile.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// Milliseconds per step of one op of one layer, summed over the blocks.
struct OpTime {
  std::string op{};     ///< "linear", "fake_quant_ste", "update"
  std::string layer{};  ///< "mlp.c_fc": without the block's "h.3."; empty where an op has none
  double forward = 0, backward = 0, optimizer = 0;
  double floor = -1;  ///< of its matrix products alone, both passes; < 0: it has none
  double total() const { return forward + backward + optimizer; }
  /// Ops named "fake_quant…" or "quantize_…": rounding that training adds. Both their passes count
  /// as quantizer; products of integers ("quantized_linear") are forward and backward.
  bool quantizer() const { return op.starts_with("fake_quant") || op.starts_with("quantize_"); }
};

/// Milliseconds per step. The parts add up to `total`, and so do the ops with `other`.
struct StepSplit {
  std::vector<OpTime> ops{};  ///< in the order of the tape
  double forward = 0, backward = 0, quantizer = 0, optimizer = 0;
  double other = 0;  ///< what nobody claims: the batch, the tape's bookkeeping
  double total = 0;
};

/// A layer's name without its block: "h.12.mlp.c_fc" -> "mlp.c_fc", "model.layers.3.mlp.up_proj" ->
/// "mlp.up_proj"; "h.12" -> "".
std::string_view without_block(std::string_view label);

/// The mean over the profile's steps; it must have one.
StepSplit step_split(const Profile& profile);

/// "step 13.1 ms: forward 4.4, backward 7.5, quantizer 0.2, optimizer 0.9, other 0.1".
std::string describe(const StepSplit& split);

/// A split with what it is of; empty names are not shown.
struct NamedSplit {
  std::string shape{}, recipe{};
  StepSplit split{};
};

/// One row per op with its share of the step; the last rows of each split are "other" and "step".
Table split_table(const std::vector<NamedSplit>& splits);

}  // namespace notch::experiments
