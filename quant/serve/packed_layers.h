// Linears of a loaded model that multiply integers: rounded inputs by packed weights, by the integer
// contract (quant/kernels/integer_linear.h).
//
// Layers without a quantized input are left alone (quant/serve/weight_only.h). The head is one of
// them, inside the loss and outside of it; no model file knows this.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>

#include "autograd/param.h"
#include "nn/model.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/serve/integer_matrix.h"

namespace notch::quant {

/// Layers of a loaded model whose weights exist as integers only. Token rows of a tied table are
/// dequantized as they are looked up.
class PackedLayers {
 public:
  /// Takes over the tensors that have an input. The model's parameters of these names need no
  /// values.
  PackedLayers(nn::Model& model, std::span<const NamedQTensor> tensors);

  struct Layer {
    InputQuantizer input{};
    IntegerMatrix weights;
    template <class... From>  // of the matrix
    explicit Layer(const InputQuantizer& in, From&&... from)
        : input(in), weights(std::forward<From>(from)...) {}
  };
  using Layers = std::map<const Param*, Layer>;
  PackedLayers(nn::Model& model, Layers layers);
  PackedLayers(const PackedLayers&) = delete;
  PackedLayers& operator=(const PackedLayers&) = delete;

  std::int64_t bytes() const;  ///< of the packed matrices

 private:
  Layers layers_;
  nn::Attachment linear_, loss_, embedding_;
};

}  // namespace notch::quant
