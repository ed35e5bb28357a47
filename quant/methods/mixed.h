// Mixed precision: every layer gets the width at which its bytes do most for the loss.
//
// The sensitivity of a layer at a width is what the loss rises by when that layer alone stands on the
// codes that the method gives it in the model that is all of that width. Rises are taken to add up; then
// the best widths are an exact allocation (quant/methods/allocation.h). They do not quite add up: where a
// rise is asked for the allocation is made, measured, and tightened until it holds. Beside each rise two estimates
// that need no evaluation per layer:
//   hessian  E |x dWᵀ|², the mean squared change of the layer's output per token
//   fisher   ½ Σ F dw², F = T E[g²], g the gradient of a window's mean loss over its T tokens
//            (the empirical Fisher information of a token, tokens of a window taken as independent)
// which say how well they rank the layers (Spearman's correlation).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/field.h"
#include "autograd/base/json.h"
#include "quant/methods/method.h"

namespace notch::quant {

enum class AllocationRule : std::uint8_t {
  exact,      ///< the least sum of rises
  threshold,  ///< two widths, the more sensitive layers get the larger one
};
constexpr auto names(AllocationRule) {
  return std::array<std::string_view, 2>{"exact", "threshold"};
}

struct MixedOptions {
  std::vector<int> widths{};
  AllocationRule rule = AllocationRule::exact;
  int windows = 256;
  bool operator==(const MixedOptions&) const = default;

  template <class Self, class V>
  static void visit(Self& self, V& v) {
    v(self.widths,
      {"widths",
       "a layer may have any of these; all together have the bytes of the row's own. none = one width",
       between(1, 8)});
    v(self.rule, {"rule", "which layers get how much: the exact optimum, or as textbooks do"});
    v(self.windows,
      {"windows", "contexts of training text that each layer's effect on the loss is measured on",
       between(1, 1'000'000)});
  }
};

/// A layer at a width.
struct Sensitivity {
  std::string layer{};
  int bits = 0;
  std::int64_t bytes = 0;
  double rise = 0;  ///< of the loss, nats per token
  double hessian = 0, fisher = 0;
};
Json to_json(const Sensitivity& s);
Sensitivity sensitivity_from_json(const Json& json, std::string_view where);

/// What to allocate to: one of the two, or neither for the bytes that the plan's layers have.
struct MixedGoal {
  std::optional<std::int64_t> bytes{};  ///< of the whole file, at most
  /// The bytes of the file of a model that is rounded by a plan: what `bytes` bounds.
  std::function<std::int64_t(const Plan&)> file_bytes{};
  std::optional<double> rise{};  ///< of the loss, at most, in the fewest bytes
  /// What the loss of a model rounded by a plan rises by, all that the plan rounds included: what `rise`
  /// bounds.
  std::function<double(const Plan&)> made_rise{};
};

struct Mixed {
  std::vector<Sensitivity> measured{};  ///< layer by layer, in order of widths
  std::vector<Sensitivity> chosen{};    ///< one per layer
  std::int64_t bytes = 0, allowed = 0;  ///< of these layers; allowed: 0 where a rise was asked for
  double rise = 0;                      ///< foretold: Σ of the chosen
  std::optional<double> made_rise{};    ///< measured, where a rise was asked for
  int made = 0;                         ///< models that were, to measure it
  double hessian_rank = 0, fisher_rank = 0;  ///< with the measured rises, over all layers and widths
  std::vector<PlanRule> rules{};             ///< one per layer, for the end of the plan's
};

/// What was measured before and is kept: found by layer and width, told as soon as it is known.
struct SensitivityStore {
  std::function<std::optional<Sensitivity>(std::string_view layer, int bits)> find{};
  std::function<void(const Sensitivity&)> keep{};
};

/// Chooses for the targets whose spec is the plan's `weights`. Tables, layers of a rule, and inputs stay
/// as the plan has them. `calibration` is the method's; the loss is measured on `text`. Usage errors: fewer than
/// two widths, widths that the grid does not have, a method that trains or moves scales between layers
/// (then a layer alone is not itself), nothing to allocate to, a file of more bytes even at the smallest
/// widths, a rise that is exceeded at the widths foretold best and at the largest.
///
/// A rise is measured of kMostMeasured models at most (quant/methods/allocation.h); one that turns out lower
/// than asked for is left so.
Mixed mix(nn::Model& model, const Method& method, const Plan& plan,
          std::span<const nn::Tokens> calibration, std::span<const nn::Tokens> text,
          const PostTrainingOptions& options, const MixedGoal& goal = {},
          const SensitivityStore& store = {});

}  // namespace notch::quant
