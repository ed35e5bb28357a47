// Parameter groups: what an optimizer moves, and the flat memory behind it.
//
// Separate from the optimizers because clipping and the weight average walk the same groups.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/param.h"

namespace notch::optim {

/// Parameters that are trained alike.
struct ParamGroup {
  std::vector<Param*> params{};
  double lr_mult = 1;       ///< times the schedule's learning rate
  double weight_decay = 0;  ///< decoupled: w -= lr · lr_mult · weight_decay · w
  bool clip = true;  ///< counted in the global gradient norm, and scaled when that is clipped
};

/// The groups GPTs are trained with: parameters of rank 2 and more (matrices and tables) decay,
/// vectors (biases, norms) do not. Parameters without values (packed layers) are left out.
std::vector<ParamGroup> decay_matrices(ParamStore& store, double weight_decay);

/// A named view of state, as checkpoints write and read it.
struct StateTensor {
  std::string name{};
  Tensor tensor{};
};

/// Parameters of one group that lie side by side, as one span. `grads` is empty when the
/// parameters have none.
struct FlatRun {
  std::span<real> values{}, grads{};
  const ParamGroup* group = nullptr;
  std::size_t offset = 0;  ///< where the run begins in a block of FlatLayout::size() elements
};

/// The runs of some groups, and where each parameter's state lies in a block laid out alike.
///
/// A run includes the padding between its parameters (up to 15 elements, in the same FlatBlock).
/// Values and gradients there are 0, and every update keeps a 0 with gradient 0 where it is.
class FlatLayout {
 public:
  enum class Gradients { required, ignored };

  /// Throws (usage) when a parameter is null, is listed twice, has no values, or has no gradient
  /// although one is required; when there is no parameter at all. Keeps references to `groups`.
  FlatLayout(const std::vector<ParamGroup>& groups, Gradients gradients);

  const std::vector<FlatRun>& runs() const { return runs_; }
  std::size_t size() const { return size_; }
  static std::span<real> part(const FlatBlock& block, const FlatRun& run) {
    return block.flat().subspan(run.offset, run.values.size());
  }
  /// `block` as one tensor per parameter, named "<prefix>.<parameter>".
  std::vector<StateTensor> views(std::string_view prefix, const FlatBlock& block) const;

 private:
  struct Slot {
    const Param* param = nullptr;
    std::size_t offset = 0;
  };
  void append(const Param& p, const ParamGroup& group, bool with_grads);

  std::vector<FlatRun> runs_;
  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace notch::optim
