// Plan: which matrices of a model are quantized, and how. Shared by every method, so that a table
// compares methods and not selections.
//
// Without rules: every Linear of the blocks gets `weights`, and the token table (with it the tied
// head) gets `table`; the position table, norms and biases stay in floating point. Rules are
// matched against layer names in order, later ones win, and may name any Linear or Embedding. With
// `activations`, what enters a quantized Linear (the head too) is quantized as well; what enters a
// layer that stays in floating point is not.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/model.h"
#include "quant/numbers/activation.h"
#include "quant/numbers/spec.h"

namespace notch::quant {

struct PlanRule {
  std::string pattern{};                 ///< `*` stands for any text: "h.*.mlp.c_proj"
  std::optional<Spec> spec{};            ///< nothing: stays in floating point
  std::optional<int> activation_bits{};  ///< of the input; 0: floating point; nothing: the plan's
};

struct Plan {
  Spec weights{};
  std::optional<Spec> table{};                  ///< token table and head; nothing: floating point
  std::optional<ActivationSpec> activations{};  ///< nothing: floating point
  /// Layers (patterns) whose input gets an asymmetric range although `activations` is symmetric:
  /// what comes out of a GELU lies above -0.17, and a symmetric grid would leave half its codes
  /// unused.
  std::vector<std::string> asymmetric{};
  std::vector<PlanRule> rules{};
};

/// A matrix that will be quantized. One parameter is one Target, however many layers read it: a
/// tied token table is one QTensor, named after the table, whose codes are chosen for the head.
struct Target {
  std::string name{};  ///< the layer's: "h.0.attn.c_attn", "wte"
  Param* weight = nullptr;
  Spec spec{};
  nn::Linear* linear =
      nullptr;  ///< who multiplies with it; null for a table that is only looked up
  /// What `linear` multiplies it with: nothing for floats. A static range is not known yet:
  /// calibrate.
  std::optional<InputQuantizer> input{};
};

/// The targets in the order in which they run (blocks, then head, then other tables). Throws usage
/// errors: a rule whose pattern matches no layer (the known names are the hint), a spec that does
/// not fit a matrix (validate), a plan that quantizes nothing.
std::vector<Target> resolve(const Plan& plan, nn::Model& model);

/// Every matrix that a pattern can name, without a spec, in the order of resolve().
std::vector<Target> matrices_of(nn::Model& model);
/// Whether `pattern` names the matrix; a tied table answers to both of its names.
bool is_named(const Target& matrix, std::string_view pattern);

/// Whether `name` matches `pattern`, in which `*` stands for any text, also empty.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace notch::quant
