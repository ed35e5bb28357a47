#include "nn/model.h"

namespace notch::nn {

Var loss_of(Graph& g, const Linear& head, Var hidden, std::span<const std::int32_t> targets,
            const std::optional<Teacher>& teacher) {
  check(head.bias == nullptr, head.name, "a head with a bias has no chunked loss");
  const LabelScope scope(g, head.name);
  const Var w = head.hooks->weight(g, *head.weight);
  return head_loss(hidden, w, targets, teacher);
}

}  // namespace notch::nn
