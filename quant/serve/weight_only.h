// Weight-only integer inference: layers whose weights exist packed only, multiplied with floats.
//
// The links that make a model of shapes without values run: they answer the linear and embedding
// chains for the parameters they hold. (Layers with quantized inputs: quant/serve/packed_layers.h.)
#pragma once

#include <map>
#include <memory>
#include <span>

#include "nn/model.h"
#include "quant/serve/input_scales.h"
#include "quant/serve/packed_layers.h"
#include "quant/serve/packed_matrix.h"

namespace notch::quant {

class WeightOnlyLayers {
 public:
  /// Attaches to the model, which must outlive this. The parameters need no values.
  WeightOnlyLayers(nn::Model& model, std::map<const Param*, PackedMatrix> matrices);
  WeightOnlyLayers(const WeightOnlyLayers&) = delete;  // the links refer to this object
  WeightOnlyLayers& operator=(const WeightOnlyLayers&) = delete;

  std::int64_t bytes() const;  ///< of the packed matrices

 private:
  std::map<const Param*, PackedMatrix> matrices_;
  nn::Attachment linear_, embedding_;
};

/// A model ready to run: what is quantized is packed, what is not has values.
struct RunnableModel {
  std::unique_ptr<nn::Model> model{};
  std::unique_ptr<InputScales> scales{};       ///< null where no input has any
  std::unique_ptr<WeightOnlyLayers> packed{};  ///< null where nothing is
  std::unique_ptr<PackedLayers> integer{};     ///< layers with quantized inputs; null without
  std::int64_t weight_bytes = 0;               ///< in memory
};

}  // namespace notch::quant
