// Mask: pruned weights stay zero while a model is trained.
//
// A link of the weight chain, below what rounds: the model, the rounding and its integers see m ⊙ w, and
// the gradient of w is m ⊙ g. Pruned weights lie still; nobody sees them. Masks are given, or grow while
// the model is trained, by magnitude (Zhu and Gupta 2017, arXiv:1710.01878, eq. 1): of the zeros wanted
//   1 - (1 - k / n)³ after the k-th of n = `rounds` prunings,
// which are spread evenly over the first half of the training. What is pruned stays so.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "nn/addition.h"
#include "nn/model.h"
#include "quant/methods/prune.h"

namespace notch::quant {

class Mask : public nn::Addition {
 public:
  /// Attaches, and zeroes what the masks have pruned. To be made after the FakeQuantizer, so that it
  /// makes the weights that one rounds. Usage error for a mask that is none of the model's matrices.
  /// With `growing` magnitude prunes more in rounds, until that is reached.
  Mask(nn::Model& model, std::span<const NamedMask> masks,
       const std::optional<PruneOptions>& growing = {});

  std::vector<nn::NamedValues> state() override;
  void before_update(double r) override;

  /// The masks as they are now.
  std::vector<NamedMask> masks() const;
  /// Zeroes the pruned weights themselves: for a model that ships them as they are.
  void settle();

 private:
  struct Node {
    Param* weight = nullptr;
    std::vector<real> keep{};  // 1 or 0
  };

  Node* find(const Param& p);

  std::optional<PruneOptions> growing_;
  std::vector<real> done_ = {0};  // prunings
  std::vector<Node> nodes_;
  nn::Attachment attachment_;
};

/// Zeroes in `params` what masks have pruned.
void zero_pruned(ParamStore& params, std::span<const NamedMask> masks);
/// The same of integers: the code of zero in the place of what is pruned, scales as they are. Usage error
/// for a mask that is of none of them, or of one whose grid has no zero.
void zero_pruned(Quantized& quantized, std::span<const NamedMask> masks);

}  // namespace notch::quant
