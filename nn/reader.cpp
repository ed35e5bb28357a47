#include "nn/reader.h"

namespace notch::nn {

Tokens Reader::tokens(std::span<const std::int32_t> ids) const {
  const std::int64_t B = cache_.shape().batch, T = std::ssize(ids) / B;
  check(T > 0 && T * B == std::ssize(ids), "reader", ids.size(), " tokens for ", B, " sequences");
  return {.ids = ids, .B = B, .T = T};
}

// A graph recycles values from the second run of the same operations on. A long prompt is not to
// keep every layer's, so the first run is one position, which is then forgotten.
void Reader::plan_memory(std::span<const std::int32_t> ids) {
  if (planned_) return;
  planned_ = true;
  const Tokens all = tokens(ids);
  if (all.T <= KvCache::kFewQueries || cache_.length() > 0) return;
  graph_.begin(Graph::Mode::inference);
  model_.next_logits(graph_, tokens(ids.first(static_cast<std::size_t>(all.B))), &cache_);
  cache_.clear();
}

std::span<const real> Reader::read(std::span<const std::int32_t> ids) {
  plan_memory(ids);
  graph_.begin(Graph::Mode::inference);
  return model_.next_logits(graph_, tokens(ids), &cache_).value().flat();
}

std::span<const real> Reader::read_all(std::span<const std::int32_t> ids) {
  all_graph_.begin(Graph::Mode::inference);
  return model_.logits(all_graph_, tokens(ids), &cache_).value().flat();
}

}  // namespace notch::nn
