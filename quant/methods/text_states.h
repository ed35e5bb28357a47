// TextStates: calibration text on its way through a model, step by step.
//
// Between two groups of steps a batch of text is data, the model's State: what is settled is never
// run again.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "autograd/graph.h"
#include "nn/model.h"

namespace notch::quant {

/// The same text in pieces of at most so many windows.
std::vector<nn::Tokens> in_pieces(std::span<const nn::Tokens> text, std::int64_t windows);

class TextStates {
 public:
  using Group = std::span<const nn::Step>;
  /// What a linear multiplies instead of x.
  using Input = std::function<Var(const nn::Linear&, Var x)>;
  /// What is added to a linear's product of x, if anything is.
  using Beside = std::function<std::optional<Var>(const nn::Linear&, Var x)>;
  /// Told of every linear and what it multiplies, in the order in which they run.
  using Seen = std::function<void(const nn::Linear&, Var x)>;

  TextStates() = default;  ///< of no text
  /// The embedded batches.
  TextStates(nn::Model& model, std::span<const nn::Tokens> text);

  std::size_t batches() const { return held_.size(); }

  /// Runs batch `i` through the group as far as the inputs of its last step, and leaves it where it
  /// is.
  void visit(Group group, std::size_t i, const Input& input, const Seen& seen,
             const Beside& beside = {});
  /// Runs it through the group, where it then stands.
  void advance(Group group, std::size_t i, const Input& input, const Seen& seen = {},
               const Beside& beside = {});

 private:
  struct Held {  // nn::State
    Shape shape{}, inner_shape{};
    std::vector<real> residual{}, inner{};
  };
  void require_pass(Group group, std::size_t i) const;
  nn::State begin(const Held& held);
  void run(const nn::Step& step, nn::State& state, const Input& input, const Seen& seen,
           const Beside& beside);

  Graph graph_;
  std::vector<Held> held_;
};

}  // namespace notch::quant
