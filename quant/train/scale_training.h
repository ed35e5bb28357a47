// Codes that stay while their scales are trained through the whole model: the second phase of
// EfficientQAT, E2E-QP (Chen et al. 2024, arXiv:2407.11062, section 3.3).
//
//   ŵ = level(q - z) s,  dL/dlog s = s Σ level dL/dŵ
// Integers and zero points are those training begins with, by Block-AP in the paper (quant/methods/block_ap.h).
// Deviations: the scales of all quantized matrices are trained, the paper leaves table and head in 16
// bits; log s is learned, so that a scale keeps its sign and one rate suits all layers.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "nn/addition.h"
#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"
#include "quant/train/qat.h"
#include "quant/train/trained_inputs.h"

namespace notch::quant {

class ScaleTraining : public nn::Addition {
 public:
  /// Attaches to a model whose targets need no values. Layers with a quantized input multiply integers;
  /// their static ranges stay as calibrated, or are learned as `options` say. Of those only what is about
  /// inputs is read. Usage error where `codes` lacks a target.
  ScaleTraining(nn::Model& model, std::span<const Target> targets, const Quantized& codes,
                const QatOptions& options);

  /// log(scale / first scale) per unit, "<parameter>.log_scale", and learned input ranges.
  ParamStore* trained() override { return &params_; }
  ParamStore& params() { return params_; }
  std::vector<nn::NamedValues> state() override;
  void before_update(double r) override;

  /// The codes on their present scales.
  Quantized convert() const;

 private:
  struct Node {
    std::size_t index = 0;  // in first_
    Param* log_scales = nullptr;
  };

  Quantized first_;
  double pact_decay_;
  ParamStore params_;
  std::optional<TrainedInputs> inputs_;
  std::map<const Param*, Node> nodes_;
  nn::Attachment attachment_;
};

}  // namespace notch::quant
