#include "quant/methods/text_states.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/extents.h"
#include "autograd/ops.h"

namespace notch::quant {

std::vector<nn::Tokens> in_pieces(std::span<const nn::Tokens> text, std::int64_t windows) {
  check(windows > 0, "text", "pieces of ", windows, " windows");
  std::vector<nn::Tokens> pieces;
  for (const nn::Tokens& batch : text) {
    check(batch.B >= 0 && std::ssize(batch.ids) == extent("text", {batch.B, batch.T}), "text",
          batch.ids.size(), " ids are not ", batch.B, " windows of ", batch.T);
    for (std::int64_t first = 0; first < batch.B; first += windows) {
      const std::int64_t n = std::min(windows, batch.B - first);
      pieces.push_back({batch.ids.subspan(static_cast<std::size_t>(first * batch.T),
                                          static_cast<std::size_t>(n * batch.T)),
                        n, batch.T});
    }
  }
  return pieces;
}

TextStates::TextStates(nn::Model& model, std::span<const nn::Tokens> text) {
  for (const nn::Tokens& tokens : text) {
    graph_.begin(Graph::Mode::inference);
    const Var x = model.embed(graph_, tokens);
    const std::span<const real> values = x.value().flat();
    held_.push_back({.shape = x.shape(), .residual = {values.begin(), values.end()}});
  }
}

void TextStates::require_pass(Group group, std::size_t i) const {
  check(!group.empty() && i < held_.size(), "text states", "batch ", i, " of ", held_.size(),
        " through ", group.size(), " steps");
}

void TextStates::visit(Group group, std::size_t i, const Input& input, const Seen& seen,
                       const Beside& beside) {
  require_pass(group, i);
  check(input && seen, "text states", "nobody gives or sees the inputs");
  nn::State state = begin(held_[i]);
  for (const nn::Step& step : group.first(group.size() - 1)) run(step, state, input, seen, beside);
  const nn::Step& last = group.back();
  const Var x = last.input(graph_, state);
  for (const nn::Linear* l : last.linears) seen(*l, input(*l, x));
}

void TextStates::advance(Group group, std::size_t i, const Input& input, const Seen& seen,
                         const Beside& beside) {
  require_pass(group, i);
  check(static_cast<bool>(input), "text states", "nobody gives the inputs");
  Held& held = held_[i];
  nn::State state = begin(held);
  for (const nn::Step& step : group) run(step, state, input, seen, beside);
  const auto hold = [](std::vector<real>& to, Shape& shape, Var v) {
    const std::span<const real> values = v.value().flat();
    if (values.data() != to.data()) to.assign(values.begin(), values.end());
    shape = v.shape();
  };
  hold(held.residual, held.shape, state.residual);
  if (state.inner.graph) {
    hold(held.inner, held.inner_shape, state.inner);
  } else {
    held.inner.clear();
  }
}

void TextStates::run(const nn::Step& step, nn::State& state, const Input& input, const Seen& seen,
                     const Beside& beside) {
  std::vector<Var> products;
  if (!step.linears.empty()) {
    const Var x = step.input(graph_, state);
    if (beside)
      graph_.keep(x);  // passes before a side product was known read x for the last time here
    for (const nn::Linear* l : step.linears) {
      const Var in = input(*l, x);
      if (seen) seen(*l, in);
      if (!step.take) continue;
      const std::optional<Var> more = beside ? beside(*l, x) : std::nullopt;
      const Var y = (*l)(graph_, in);
      products.push_back(more ? add(y, *more) : y);
    }
  }
  if (!step.take) return;  // nothing is behind the head
  step.take(graph_, state, products);
  // A pass that ends at an input reads less of the state than one that goes on, and inference
  // recycles values by what the pass before read.
  graph_.keep(state.residual);
  if (state.inner.graph) graph_.keep(state.inner);
}

nn::State TextStates::begin(const Held& held) {
  graph_.begin(Graph::Mode::inference);
  const auto constant = [&](const std::vector<real>& values, const Shape& shape) {
    return graph_.constant({const_cast<real*>(values.data()), shape}, "hidden");
  };
  nn::State state{.residual = constant(held.residual, held.shape)};
  if (!held.inner.empty()) state.inner = constant(held.inner, held.inner_shape);
  return state;
}

}  // namespace notch::quant
