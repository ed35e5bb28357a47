// Linears that multiply integers while the model is trained: the arithmetic that ships
// (quant/serve/served_layers.h), with gradients.
//
// Layers without a quantized input are left alone. The head is one of them, inside the loss and
// outside of it; no model file knows this.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/param.h"
#include "nn/addition.h"
#include "nn/model.h"
#include "quant/kernels/integer_linear.h"
#include "quant/methods/plan.h"
#include "quant/ops/input_ops.h"

namespace notch::quant {

/// How static input ranges are found in training.
enum class InputLearning : std::uint8_t {
  method,  ///< as the method's weights: learned by LSQ, fixed by STE
  lsq,     ///< scale, and offset where they are asymmetric (LSQ+)
  /// The clipping level α, where the range ends, by PACT (Choi et al. 2018, arXiv:1805.06085): from
  /// the values it clips, and a decay λ α². A range that begins at 0 or, behind a GELU, at the
  /// lowest value that calibration saw, keeps that end: one-sided, as in the paper. A symmetric
  /// range is [-α, α], which clips on both sides; the paper has no such inputs. Deviations: that; α
  /// is learned as its logarithm (the scale's); its first value is the observer's.
  pact,
  fixed,  ///< they stay as calibrated
};
constexpr auto names(InputLearning) {
  return std::array<std::string_view, 4>{"method", "lsq", "pact", "fixed"};
}

/// The products that give a rounded input its gradient: of floats, or of 8-bit integers
/// (quant/kernels/integer_gradients.h).
enum class InputBackward : std::uint8_t { fp32, int8 };
constexpr auto names(InputBackward) { return std::array<std::string_view, 2>{"fp32", "int8"}; }

/// Inputs of the layers of a model in training. Their learned ranges are parameters
/// "<weight>.input_log_scale" and "<weight>.input_offset" of `params`.
class TrainedInputs {
 public:
  /// Attaches to the linear and loss chains for every target with an input. Learned ranges start
  /// from the targets'; `learning` says how, `method` nothing. Usage error for a static range that
  /// was not calibrated. `backward` is of the layers, not of the head. `model` and `params` must
  /// outlive this.
  TrainedInputs(nn::Model& model, std::span<const Target> targets, InputLearning learning, Ste ste,
                InputBackward backward, ParamStore& params);
  TrainedInputs(const TrainedInputs&) = delete;  // the links refer to this object
  TrainedInputs& operator=(const TrainedInputs&) = delete;

  /// Off: products of floats, as if nothing were attached.
  void set_active(bool on) { active_ = on; }

  /// What learned ranges start from ("<weight>.input_scale"): checkpoints keep it.
  void add_state(std::vector<nn::NamedValues>& all);

  /// Adds the gradient of decay · α² for every range that PACT learns.
  void add_decay(double decay);

  /// Where a fake-quant op leaves the integers of this weight in this step, 8-bit codes of any width;
  /// nothing where they are not multiplied. The memory is the step's: graphs of several threads may
  /// run one model.
  std::optional<PackedWeights> packed(Graph& g, const Param& weight) const;
  /// What ships: the input of the layer that multiplies with `weight`, with its present range.
  std::optional<InputQuantizer> input_of(const Param& weight) const;

 private:
  struct Layer {
    InputQuantizer input{};
    IntegerShape weights{};
    Param* log_scale = nullptr;
    Param* offset = nullptr;
    InputQuantizer present() const;
  };
  StepInput step_input(Graph& g, const Layer& layer) const;
  Var loss(Graph& g, const nn::Linear& head, Var x, const nn::LossTargets& wanted,
           const Layer& layer) const;

  InputLearning learning_;
  Ste ste_;
  InputBackward backward_;
  bool active_ = true;
  std::map<const Param*, Layer> layers_;
  nn::Attachment linear_, loss_;
};

}  // namespace notch::quant
