// QLoRA: low-rank products that are trained beside codes that stay (Dettmers et al. 2023,
// arXiv:2305.14314; the products are LoRA's, Hu et al. 2021, arXiv:2106.09685).
//
//   y = x ŵᵀ + b + (x downᵀ) upᵀ,   down = A [r, in],  up = (alpha / r) B [out, r]          (eq. 5)
// beside every Linear of the blocks. A begins uniform within ±1/√in, B at zero. ŵ is served from its
// codes (quant/serve/served_matrix.h): there are no floats of it, and the gradient of x goes through
// dequantized pieces. What ships is codes and side products, numbers of float16, which the forward
// rounds to as well; or, merged, integers alone (merge).
// Deviations: no dropout of x and no paged optimizer; the base is on any grid, nf4 with nested scales
// being the paper's, and by any method that rounds (qat.from); A and B stay in fp32 while they are trained,
// of which the paper keeps bfloat16. A quantized input is rounded straight-through and multiplied with
// ŵ in floating point, which its codes give up to the rounding of sums.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "autograd/base/field.h"
#include "nn/addition.h"
#include "nn/model.h"
#include "quant/methods/plan.h"
#include "quant/methods/quantized.h"
#include "quant/serve/served_layers.h"

namespace notch::quant {

struct QloraOptions {
  int rank = 8;
  double alpha = 16;
  double lr_scale = 1;
  bool merge = false;
  bool operator==(const QloraOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.rank, {"rank", "rank of the product beside each matrix; both factors are 16-bit floats",
                  between(1, 1024)});
    v(self.alpha, {"alpha", "the product is multiplied by alpha / rank", above(0)});
    v(self.lr_scale, {"lr_scale", "peak learning rate of the factors, times train.lr", above(0)});
    v(self.merge,
      {"merge",
       "add the products to the base's weights in the end and round these again as it was: "
       "integers alone, and what that loses is reported"});
  }
};

/// Usage error, field = "qlora.rank", for a rank above the matrix' smaller side.
void require_rank(const QloraOptions& options, const Param& weight, std::string_view where);

class Adapters : public nn::Addition {
 public:
  /// Attaches to a model whose targets need no values (packed_twin). Usage error where `base` lacks a
  /// target or left something to be done with inputs, and as require_rank.
  Adapters(nn::Model& model, std::span<const Target> targets, const Quantized& base,
           const QloraOptions& options, std::uint64_t seed);

  /// "<weight>.adapter_down" and "<weight>.adapter_up", A and B.
  ParamStore* trained() override { return &params_; }
  ParamStore& params() { return params_; }

  /// The base with the present products beside it. Numeric error for a factor that is no float16.
  Quantized convert() const;

 private:
  struct Layer {
    std::optional<InputQuantizer> input{};
    Param *down = nullptr, *up = nullptr;  // null: no product, it is not in a block
    double factor = 0;
  };
  void start(std::uint64_t seed);
  Var product(Graph& g, const Layer& layer, Var x) const;

  Quantized base_;
  ParamStore params_;
  std::map<const Param*, Layer> layers_;
  nn::Attachment linear_, loss_;  // before those that multiply
  std::optional<ServedLayers> served_;
};

/// A model like `model` that has values only of what `quantized` has no codes of, and of positions, which
/// are added and not multiplied.
std::unique_ptr<nn::Model> packed_twin(const nn::Model& model, const Quantized& quantized);

/// `params` at ŵ + up down for every matrix that has a product, at ŵ for the others. Usage error for a
/// side product of channels.
void absorb_products(const Quantized& quantized, ParamStore& params);

}  // namespace notch::quant
