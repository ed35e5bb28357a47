#include "nn/model.h"

namespace notch::nn {

Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher) {
  check(head.bias == nullptr, head.name, "a head with a bias has no chunked loss");
  const LabelScope scope(g, head.name);
  return head.hooks->loss_chain(g, head, hidden, {targets, teacher});
}

}  // namespace notch::nn
