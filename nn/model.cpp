#include "nn/model.h"

namespace notch::nn {

void Step::run(Graph& g, State& s) const {
  std::vector<Var> products;
  if (!linears.empty()) {
    const Var x = input(g, s);
    for (const Linear* linear : linears) products.push_back((*linear)(g, x));
  }
  take(g, s, products);
}

std::vector<Linear*> Stage::linears() const {
  std::vector<Linear*> all;
  for (const Step& s : steps) all.insert(all.end(), s.linears.begin(), s.linears.end());
  return all;
}

Var Stage::run(Graph& g, Var x) const {
  const LabelScope scope(g, name);
  State state{.residual = x};
  for (const Step& s : steps) s.run(g, state);
  return state.residual;
}

Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher) {
  check(head.bias == nullptr, head.name, "a head with a bias has no chunked loss");
  const LabelScope scope(g, head.name);
  return head.hooks->loss_chain(g, head, hidden, {targets, teacher});
}

}  // namespace notch::nn
