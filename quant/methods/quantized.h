// Quantized: a model on integers, and what rounding did to its matrices.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/real.h"
#include "quant/numbers/named_mask.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

/// A number that a method reports of a matrix besides its codes, by its key in metrics.jsonl.
struct Measure {
  std::string_view key{};
  double value = 0;
};

struct LayerReport {
  std::string name{};
  Spec spec{};
  double moved = 0;                 ///< share of weights whose value changed
  double weight_error = 0;          ///< Σ (w - ŵ)² / Σ w²
  std::vector<Measure> measures{};  ///< the method's own; none where it had nothing to measure
};

/// The measure of that key; 0 where the layer has none.
double measure(const LayerReport& layer, std::string_view key);
/// Sum and maximum over the layers.
double total(std::span<const LayerReport> layers, std::string_view key);
double largest(std::span<const LayerReport> layers, std::string_view key);

/// Fills `moved` and `weight_error` from a matrix before and after rounding.
void measure_rounding(std::span<const real> before, std::span<const real> after,
                      LayerReport& report);

/// The codes of a model's targets, in their order. Everything else is in the model's parameters.
struct Quantized {
  std::vector<NamedQTensor> tensors{};
  std::vector<LayerReport> layers{};
  std::vector<NamedMask> masks{};  ///< of what is pruned, in integers or not
};

/// Share of the quantized weights whose value rounding changed; a numeric error when it is 0: then
/// nothing was quantized.
double require_activity(const Quantized& quantized, std::string_view where);

}  // namespace notch::quant
