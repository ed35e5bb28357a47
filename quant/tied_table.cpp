#include "quant/tied_table.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace notch::quant {
namespace {

constexpr std::int64_t kTokens = 512;

/// 1 - Σ p² of p = softmax(logits).
double spread(std::span<const real> logits) {
  const double top = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0, squares = 0;
  for (const real z : logits) {
    const double e = std::exp(static_cast<double>(z) - top);
    sum += e;
    squares += e * e;
  }
  return 1 - squares / (sum * sum);
}

}  // namespace

Hessian lookup_moment(nn::ModelView& model, std::span<const nn::Tokens> calibration) {
  Graph lookup, graph, head;
  Hessian moment(model.head->in_features());
  double spreads = 0;
  std::int64_t rows = 0;
  for (const nn::Tokens& all : calibration) {
    const std::int64_t T = all.T, B = std::min(all.B, std::max<std::int64_t>(1, kTokens / T));
    const nn::Tokens tokens{all.ids.first(static_cast<std::size_t>(B * T)), B, T};
    std::vector<std::int32_t> targets(tokens.ids.size(), -1);
    for (std::size_t i = 0; i + 1 < targets.size(); ++i) {
      if ((i + 1) % static_cast<std::size_t>(T) != 0) targets[i] = tokens.ids[i + 1];
    }
    if (T < 2) continue;
    lookup.begin(Graph::Mode::inference);
    const Var embedded = model.embed(lookup, tokens);
    graph.begin(Graph::Mode::training);
    const Var x = graph.input(embedded.value(), "embedded");
    Var h = x;
    for (const nn::Stage& stage : model.stages) h = stage.run(graph, h);
    // One window of the hidden states is enough for a mean, and keeps [T, V] logits small.
    head.begin(Graph::Mode::inference);
    const std::int64_t C = h.shape().last();
    const Var logits = (*model.head)(head, head.constant({h.value().data, {1, T, C}}, "hidden"));
    const std::int64_t V = logits.shape().last();
    for (std::int64_t t = 0; t < T; ++t) {
      spreads += spread(logits.value().flat().subspan(static_cast<std::size_t>(t * V),
                                                      static_cast<std::size_t>(V)));
    }
    rows += T;
    const Var loss = nn::loss_of(graph, *model.head, h, targets, {});
    graph.backward(loss, static_cast<real>(B * (T - 1)));  // the mean times its tokens: their sum
    moment.accumulate(graph.grad(x));
  }
  if (rows > 0) moment.scale(static_cast<double>(rows) / spreads);
  return moment;
}

}  // namespace notch::quant
