// Training through rounding: FakeQuantizer makes a model see its weights as they will be shipped.
//
// It attaches to the model's weight chain, so no layer is edited; what it adds (LSQ's step sizes)
// lives in its own ParamStore, which the optimizer gets as a group of its own. The training loop
// belongs to the caller. convert() gives the integers: dequantized, they are bit for bit what the
// last forward saw.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/methods/method.h"
#include "quant/ops/fake_quant.h"
#include "quant/train/trained_inputs.h"

namespace notch::quant {

struct QatOptions {
  Ste ste = Ste::clipped;
  /// First step sizes of LSQ. The paper's rule is far too wide at 6 and 8 bits for a short
  /// training, so the least-squares range is the default.
  RangeRule lsq_init = RangeRule::mse;
  /// Frequency of going back and forth above which a weight is frozen at its average code; 0: never
  /// (Nagel et al. 2022, arXiv:2203.11086, section 4.2; there 0.1 falling to 0.01).
  double freeze = 0;
  /// Last weight of the dampening loss λ ‖ŵ - clip(w)‖², which rises from 0 as (1 - cos πr)/2 over
  /// the training; 0: none (section 4.1 there).
  double dampen = 0;
  /// Of static input ranges; nothing: LSQ learns them, STE keeps them.
  std::optional<InputLearning> inputs{};
  double pact_decay = 1e-4;  ///< λ of λ α², where PACT learns them
};

class FakeQuantizer {
 public:
  /// Searches ranges for the targets' present weights and attaches; or, where training goes on from
  /// post_training's result, takes over its grids: convert() then gives `start` until a weight moves.
  /// Layers with a quantized input multiply integers from here on; static input ranges must have been
  /// calibrated, and LSQ learns them. The model must outlive this. Usage error when `start` lacks a
  /// target or has it on another grid.
  FakeQuantizer(nn::ModelView& model, Training training, std::span<const Target> targets,
                const QatOptions& options, const Quantized* start = nullptr);

  FakeQuantizer(const FakeQuantizer&) = delete;  // the hook refers to this object
  FakeQuantizer& operator=(const FakeQuantizer&) = delete;

  /// log(step size / first step size) per unit, named "<parameter>.log_scale", and learned input
  /// ranges; empty for STE.
  ParamStore& params() { return *params_; }
  /// What checkpoints keep besides: what the start has fixed (STE's "<parameter>.anchor", LSQ's
  /// "<parameter>.first_scale") and what is known of oscillations
  /// ("<parameter>.oscillation.frequency").
  std::vector<NamedValues> state();

  /// Between backward and the update of step r·steps: adds the gradients of dampening and of PACT's
  /// decay.
  void before_update(double r);
  /// After every update, with `freeze`: notes which codes moved back, holds frozen weights in
  /// place.
  void after_update();
  double frozen_share() const;  ///< of the weights

  /// The matrices, in the order of their integers in convert(), and the present scales of one.
  std::size_t size() const { return order_.size(); }
  const Target& target(std::size_t i) const { return nodes_.at(order_[i]).target; }
  Scales scales(std::size_t i) {
    Node& node = nodes_.at(order_[i]);
    look(node);
    return scales_of(node);
  }
  /// The weights that the forward hands to the rounding: the parameter's, or what links that were
  /// attached later (masks, adapters) make of them.
  std::span<const real> weights(std::size_t i) { return look(nodes_.at(order_[i])); }

  /// Until the next call the model sees these parameters, one per matrix in their order and of its
  /// shape, instead of the rounded weights, and multiplies floats. Null ends it.
  void substitute(ParamStore* weights) {
    substitutes_ = weights;
    inputs_->set_active(!weights);
  }

  /// The integers of the weights that the forward rounds now, at their present steps. The model is
  /// left as it is.
  Quantized convert();

 private:
  struct Node {
    Target target{};
    std::size_t index = 0;               // in order_
    std::vector<RangeAnchor> anchors{};  // STE
    Param* log_scale = nullptr;          // LSQ, as a factor of
    std::vector<real> first{};           // the scales it starts from
    Scales now{};                        // of the present weights
    std::span<const real> seen{};        // what is rounded, as look() last found it
    std::vector<real> below{};           // its values where links lie below
    std::vector<real> code{}, direction{}, frequency{}, mean{},
        frozen{};  // OscillationState, with `freeze`
  };
  std::span<const real> look(Node& node);
  void find_scales(const Node& node, Scales& at) const;
  Scales scales_of(const Node& node) const;
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
  nn::Attachment attachment_;
};

}  // namespace notch::quant
