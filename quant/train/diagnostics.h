// Diagnostics of training through rounding: what the quantizer does to a model while it trains.
//
// They watch a FakeQuantizer from outside: after every step the codes (one rounding of the
// weights), and a few times per training the gradients. Separate from it because training does not
// need them. Sources: oscillation of codes, Nagel et al. 2022 (arXiv:2203.11086); stochastic
// rounding, Gupta et al. 2015 (arXiv:1502.02551).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "nn/addition.h"
#include "quant/train/qat.h"

namespace notch::quant {

/// One matrix, at one moment. "Since" means since the last report, or the start.
struct LayerDiagnostics {
  std::string name{};
  double sqnr_db = 0;  ///< 10 log10(Σ w² / Σ (w - ŵ)²); infinite when nothing is rounded
  double changed = 0;  ///< share of weights whose code is another one than at the last report
  double clipped = 0;  ///< share of weights that lie outside the grid
  double step = 0;     ///< geometric mean of the scales: with LSQ, where the steps have gone
  /// Share of weights whose code turned back (went up after it had gone down, or the reverse)
  /// 0, 1, 2-3, 4-7, 8 and more times since.
  std::array<double, 5> reversals{};
  /// Share of the weights between two codes by their distance to the boundary where
  /// rounding changes, in eighths of the largest one (half a step); the first are about to change.
  std::array<double, 8> boundary{};
  /// Cosine between the straight-through gradient, dL/dŵ at the rounded weights, and the gradient
  /// of the loss expected under stochastic rounding; over weights inside the grid. NaN when the
  /// latter is lost in noise.
  double ste_cosine = 0;
};

class Diagnostics : public nn::Addition {
 public:
  /// `fake` must outlive this. Remembers the present codes.
  explicit Diagnostics(FakeQuantizer& fake);

  /// Follows the codes. Of several additions it comes after those that move weights.
  void after_update(const nn::Moment& at) override;
  /// report() as "quantizer".
  std::optional<nn::Remark> remark(const std::function<void()>& gradients,
                                   std::uint64_t key) override;

  /// What there is to say since the last report. `gradients` runs the model forward and backward over
  /// one batch, always the same; it is called three times: with the rounded weights, and with two
  /// stochastic roundings drawn from `key`, products of floats each time. Parameters are left as they
  /// were, their gradients are not.
  ///
  /// With F(w) = E L(Q(w)), Q(w) = the code below or above with probabilities that make E Q(w) = w:
  /// dF/dw_i is E of the difference quotient of L between both codes of w_i; it is estimated by
  /// dL/dŵ at a draw, which is exact but for the curvature of L along w_i alone. Of two draws a and
  /// b the estimate is (a + b)/2, and <a, b> its squared norm without the noise.
  std::vector<LayerDiagnostics> report(const std::function<void()>& gradients, std::uint64_t key);

  /// What a resumed training needs to go on as if it had not stopped: per matrix one integer per
  /// weight, exact in float: code, code at the last report, last direction, reversals (at most 84).
  std::vector<nn::NamedValues> state() override;

 private:
  struct Layer {
    Param* weight = nullptr;
    std::vector<real> history{};
    std::vector<std::int8_t> codes{};  // scratch
  };
  void describe(Layer& layer, std::size_t index, LayerDiagnostics& out);
  void compare_gradients(const std::function<void()>& gradients, std::uint64_t key,
                         std::vector<LayerDiagnostics>& out);

  FakeQuantizer& fake_;
  std::vector<Layer> layers_;
};

/// {"layers": [names], "sqnr_db": [...], …}: one list per figure, in the order of the layers, four
/// significant digits; null for what is not a finite number.
Json to_json(const std::vector<LayerDiagnostics>& layers);

}  // namespace notch::quant
