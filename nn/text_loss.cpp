#include "nn/text_loss.h"

#include "autograd/base/extents.h"

namespace notch::nn {

std::vector<std::int32_t> successors(const Tokens& tokens) {
  check(std::ssize(tokens.ids) == extent("successors", {tokens.B, tokens.T}), "successors",
        tokens.ids.size(), " tokens for [", tokens.B, ", ", tokens.T, "]");
  std::vector<std::int32_t> out(tokens.ids.size(), -1);
  for (std::size_t t = 0; t + 1 < out.size(); ++t) {
    if ((t + 1) % static_cast<std::size_t>(tokens.T) != 0) out[t] = tokens.ids[t + 1];
  }
  return out;
}

double mean_loss(Graph& graph, const Model& model, std::span<const Tokens> text) {
  double sum = 0, tokens = 0;
  for (const Tokens& batch : text) {
    graph.begin(Graph::Mode::inference);
    const double scored = static_cast<double>(batch.B * (batch.T - 1));
    const std::vector<std::int32_t> targets = successors(batch);
    const Var loss = model.loss(graph, {.tokens = batch, .targets = targets});
    sum += scored * static_cast<double>(loss.value().flat()[0]);
    tokens += scored;
  }
  check(tokens > 0, "loss", "a text without a token to predict has none");
  return sum / tokens;
}

}  // namespace notch::nn
