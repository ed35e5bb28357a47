#include "quant/methods/tied_table.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "autograd/base/elementary.h"
#include "autograd/base/thread_pool.h"

namespace notch::quant {
namespace {

constexpr std::int64_t kTokens = 1024;

/// 1 - Σ p² of p = softmax(logits).
double spread(std::span<const real> logits) {
  const double top = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0, squares = 0;
  for (const real z : logits) {
    const double e = elementary::exp(static_cast<double>(z) - top);
    sum += e;
    squares += e * e;
  }
  return 1 - squares / (sum * sum);
}

}  // namespace

Hessian lookup_moment(nn::Model& model, std::span<const nn::Tokens> calibration) {
  Graph lookup, graph, head;
  Hessian moment(model.head().in_features());
  double spreads = 0;
  std::int64_t rows = 0;
  const auto batches = std::ssize(calibration);
  for (std::int64_t i = 0; i < batches; ++i) {
    // Windows from every part of the text, as many as kTokens are.
    const nn::Tokens& all = calibration[static_cast<std::size_t>(i)];
    const std::int64_t T = all.T, windows = std::max<std::int64_t>(1, kTokens / T);
    const std::int64_t B = std::min(all.B, windows * (i + 1) / batches - windows * i / batches);
    if (T < 2 || B == 0) continue;
    const nn::Tokens tokens{all.ids.first(static_cast<std::size_t>(B * T)), B, T};
    std::vector<std::int32_t> targets(tokens.ids.size(), -1);
    for (std::size_t t = 0; t + 1 < targets.size(); ++t) {
      if ((t + 1) % static_cast<std::size_t>(T) != 0) targets[t] = tokens.ids[t + 1];
    }
    lookup.begin(Graph::Mode::inference);
    const Var embedded = model.embed(lookup, tokens);
    graph.begin(Graph::Mode::training);
    const Var x = graph.input(embedded.value(), "embedded");
    Var h = x;
    for (const nn::Stage& stage : model.stages()) h = stage.run(graph, h);
    // One window of the hidden states is enough for a mean, and keeps [T, V] logits small.
    head.begin(Graph::Mode::inference);
    const std::int64_t C = h.shape().last();
    const Var logits = model.head()(head, head.constant({h.value().data, {1, T, C}}, "hidden"));
    const std::int64_t V = logits.shape().last();
    const std::span<const real> all_logits = logits.value().flat();
    std::vector<double> of_token(static_cast<std::size_t>(T));
    parallel_for(T, [&](std::int64_t t) {
      of_token[static_cast<std::size_t>(t)] =
          spread(all_logits.subspan(static_cast<std::size_t>(t * V), static_cast<std::size_t>(V)));
    });
    spreads = std::accumulate(of_token.begin(), of_token.end(), spreads);
    rows += T;
    const Var loss = nn::loss_of(graph, model.head(), h, targets, {});
    graph.backward(loss, static_cast<real>(B * (T - 1)));  // the mean times its tokens: their sum
    moment.accumulate(graph.grad(x));
  }
  // A model that is certain of every token has no error to pass on: its lookups weigh nothing.
  if (rows > 0) moment.scale(spreads > 0 ? static_cast<double>(rows) / spreads : 0);
  return moment;
}

}  // namespace notch::quant
