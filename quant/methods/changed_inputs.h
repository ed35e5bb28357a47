// ChangedInputs: what becomes of the inputs of linears while a model is rounded, and of the weights
// that read them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "nn/model.h"
#include "quant/methods/plan.h"
#include "quant/numbers/named_qtensor.h"
#include "quant/ops/changed_input.h"

namespace notch::quant {

class ChangedInputs {
 public:
  /// Inputs as they are; rounded where a target says so and needs no text for it.
  explicit ChangedInputs(std::span<const Target> targets);

  /// The step's input becomes x_j / s_j, its columns w_ij s_j. What is before it absorbs the 1/s_j:
  /// the norm, or, unless `source_is_settled`, the rows of a linear that reach the columns one to
  /// one; else the input itself is divided where it is read.
  void divide(const nn::Step& step, std::span<const real> s, bool source_is_settled);
  /// Input and rows are turned by the Hadamard matrix with these signs (quant/kernels/hadamard.h).
  void rotate(const Target& t, std::span<const std::int8_t> signs);
  /// The columns of `channels` leave the matrix for a product beside it, in 16 bits.
  void set_apart(const Target& t, const std::vector<std::int32_t>& channels);
  void put_beside(const Target& t, SideProduct side);
  void set_range(const nn::Linear* linear, const InputQuantizer& range);

  /// What the linear multiplies instead of x in the model that ships.
  Var shipped(const nn::Linear& linear, Var x) const;
  /// What is added to that product, if anything is.
  std::optional<Var> beside(const nn::Linear& linear, Var x) const;

  /// Codes and what its file says of the input; leaves nothing of the change behind.
  NamedQTensor tensor(const Target& t, QTensor codes);

 private:
  struct Input {
    InputChange change{};
    RunnableChange ready{};  // the same, and the range
  };
  static void settle(Input& input, std::int64_t cols);

  std::map<const nn::Linear*, Input> inputs_;
};

}  // namespace notch::quant
