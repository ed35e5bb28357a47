// Training through rounding: FakeQuantizer makes a model see its weights as they will be shipped.
//
// It attaches to the model's weight chain, so no layer is edited; what it adds (LSQ's step sizes)
// lives in its own ParamStore, which the optimizer gets as a group of its own. The training loop
// belongs to the caller. convert() gives the integers: dequantized, they are bit for bit what the
// last forward saw.
//
// quant/train/ is what takes part in training for the sake of codes, each an nn::Addition.
// May include: quant/serve, quant/methods, quant/ops, quant/numbers, quant/kernels, nn, autograd.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/field.h"
#include "nn/addition.h"
#include "quant/methods/method.h"
#include "quant/ops/fake_quant.h"
#include "quant/train/trained_inputs.h"

namespace notch::quant {

/// The rule of LSQ's first step sizes. The paper's (RangeRule::lsq_paper) is far too wide at 6 and 8
/// bits for a short training.
enum class LsqInit : std::uint8_t { mse, absmax, paper };
constexpr auto names(LsqInit) { return std::array<std::string_view, 3>{"mse", "absmax", "paper"}; }

/// The share of a training before CAGE begins to draw.
inline constexpr double kCageSilence = 0.8;

struct QatOptions {
  Ste ste = Ste::clipped;
  LsqInit lsq_init = LsqInit::mse;
  /// Nagel et al. 2022 (arXiv:2203.11086), section 4.2; there the frequency falls from 0.1 to 0.01.
  double freeze = 0;
  /// λ of the dampening loss λ ‖ŵ - clip(w)‖², which rises from 0 as (1 - cos πr)/2 over the
  /// training (section 4.1 there).
  double dampen = 0;
  /// λ of CAGE, Tabesh et al. 2025 (arXiv:2510.18784): w -= lr λ(r) (w - ŵ) beside Adam's step, as weight
  /// decay stands beside it. In Adam's gradient the same would be λ √v (w - ŵ), the error times the
  /// curvature that Adam estimates, where dampening has every weight's error count alike. λ(r) is 0 for
  /// the first kCageSilence of the training and rises from there to `cage` in a line, as the paper's
  /// schedule does. Deviations: the error is that of the weights after Adam's step, and lr λ(r) is at most
  /// 1. What counts is λ times the sum of the learning rates: the paper's 10 is for trainings of 10,000
  /// steps and more, at the end of one of a few hundred it closes less than a hundredth of the gap.
  double cage = 0;
  InputLearning inputs = InputLearning::method;
  double pact_decay = 1e-4;  ///< λ of λ α²
  InputBackward backward = InputBackward::fp32;
  bool operator==(const QatOptions&) const = default;

  /// In three parts, between which [qat] has keys of the training loop.
  template <class Self, class V>
  static void visit_gradients(Self& self, V& v) {
    v(self.ste, {"ste", "gradient outside the range: 0 (clipped) or 1 (plain)"});
    v(self.lsq_init, {"lsq_init", "first step sizes"});
  }
  template <class Self, class V>
  static void visit_oscillation(Self& self, V& v) {
    v(self.freeze, {"freeze",
                    "how often a weight goes back and forth, per step, before it is frozen at its "
                    "average code (0.02 is often); 0 = never",
                    from_below(0, 1)});
    v(self.dampen, {"dampen", "last weight of the loss that draws weights to their codes; 0 = off",
                    at_least(0)});
    v(self.cage, {"cage",
                  "draws weights to their codes in the last fifth, by at most this times the learning "
                  "rate; 0 = off",
                  at_least(0)});
  }
  template <class Self, class V>
  static void visit_inputs(Self& self, V& v) {
    v(self.inputs, {"inputs",
                    "static ranges of activations: as the method's weights (learned by lsq, else "
                    "fixed), or by lsq, by their clipping level alone (pact), or fixed"});
    v(self.pact_decay,
      {"pact_decay", "inputs = \"pact\": times the square of the clipping level, in the loss",
       at_least(0)});
  }
};

class FakeQuantizer : public nn::Addition {
 public:
  /// Searches ranges for the targets' present weights and attaches; or, where training goes on from
  /// post_training's result, takes over its grids: convert() then gives `start` until a weight moves.
  /// Layers with a quantized input multiply integers from here on; static input ranges must have been
  /// calibrated, and LSQ learns them. The model must outlive this. Usage error when `start` lacks a
  /// target or has it on another grid.
  /// With Training::gaussian the rows of the blocks' matrices and their inputs are rotated
  /// (quant/methods/hadamard.h), and ranges are those of a normal distribution as wide as the weights
  /// (quant/numbers/gaussian_fit.h): QuEST, Panferov et al. 2025 (arXiv:2502.05003). Deviations: blocks of
  /// the rotation are as wide as divides the input and have random signs, the paper's are of 128 channels
  /// without; inputs, where they are rounded, have the ranges of every other method. It takes no `start`,
  /// whose codes are of weights that were not rotated.
  FakeQuantizer(nn::Model& model, Training training, std::span<const Target> targets,
                const QatOptions& options, const Quantized* start = nullptr);

  /// log(step size / first step size) per unit, named "<parameter>.log_scale", and learned input
  /// ranges; of grids with levels of their own what moves these, "<parameter>.level_shift"; empty for STE.
  ParamStore& params() { return *params_; }
  ParamStore* trained() override { return params_->params().empty() ? nullptr : params_.get(); }
  /// What checkpoints keep besides: what the start has fixed (STE's "<parameter>.anchor", LSQ's
  /// "<parameter>.first_scale" and ".zero_point"; levels of the matrix's own as they are) and what is known of oscillations
  /// ("<parameter>.oscillation.frequency").
  std::vector<nn::NamedValues> state() override;

  /// Acts between backward and the update of step r·steps: adds the gradients of dampening and of
  /// PACT's decay.
  void before_update(double r) override;
  /// With `cage`: draws weights to their codes. With `freeze`: notes which codes moved back, holds frozen
  /// weights in place.
  void after_update(const nn::Moment& at) override;
  double frozen_share() const;  ///< of the weights

  /// The matrices, in the order of their integers in convert(), and the present scales of one.
  std::size_t size() const { return order_.size(); }
  const Target& target(std::size_t i) const { return nodes_.at(matrix(i)).target; }
  Scales scales(std::size_t i) {
    Node& node = nodes_.at(matrix(i));
    look(node);
    return scales_of(node);
  }
  /// The weights that the forward hands to the rounding: the parameter's, or what links that were
  /// attached later (masks, adapters) make of them.
  std::span<const real> weights(std::size_t i) { return look(nodes_.at(matrix(i))); }

  /// Until the next call the model sees these parameters, one per matrix in their order and of its
  /// shape, instead of the rounded weights, and multiplies floats. Null ends it.
  void substitute(ParamStore* weights);

  /// The integers of the weights that the forward rounds now, at their present steps. The model is
  /// left as it is.
  Quantized convert();

 private:
  struct Node {
    Target target{};
    std::size_t index = 0;               // in order_
    std::vector<RangeAnchor> anchors{};  // STE
    Param* log_scale = nullptr;          // LSQ, as a factor of
    std::vector<real> first{}, zeros{};  // the scales it starts from, and their zero points
    double of_normal = 0;                // gaussian: the scale for a deviation of 1, and
    std::vector<std::int8_t> signs{};    // of the rotation; none outside of the blocks
    Scales now{};                        // of the present weights
    std::span<const real> seen{};        // what is rounded, as look() last found it
    std::vector<real> below{};           // its values where links lie below
    std::vector<real> code{}, direction{}, frequency{}, mean{},
        frozen{};  // OscillationState, with `freeze`
  };
  const Param* matrix(std::size_t i) const;
  std::span<const real> look(Node& node);
  void find_scales(const Node& node, Scales& at) const;
  Scales scales_of(const Node& node) const;
  void rotate_inputs(nn::Model& model);
  void rotate_weights();
  void draw_to_codes(const nn::Moment& at);
  void start_oscillation();
  void refuse_links_below(const char* option) const;
  template <class Body>
  void for_nodes(const Body& body);

  Training training_;
  QatOptions options_;
  ParamStore* substitutes_ = nullptr;
  std::unique_ptr<ParamStore> params_;
  std::optional<TrainedInputs> inputs_;
  std::map<const Param*, Node> nodes_;
  std::vector<const Param*> order_;
  nn::Chain<Param&>* chain_ = nullptr;
  nn::Attachment rotated_inputs_, attachment_, rotated_weights_;
};

}  // namespace notch::quant
