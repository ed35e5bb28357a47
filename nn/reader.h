// Reader: feeds tokens to a model with a cache; its answers are logits.
#pragma once

#include <cstdint>
#include <span>

#include "nn/model.h"

namespace notch::nn {

class Reader {
 public:
  /// Reads on from what the cache holds. Both must outlive this.
  Reader(const Model& model, KvCache& cache) : model_(model), cache_(cache) {}

  /// Positions that can still be read.
  std::int64_t room() const { return cache_.capacity() - cache_.length(); }
  std::int64_t length() const { return cache_.length(); }
  /// Empties the cache, or takes the positions from `length` on back.
  void forget(std::int64_t length = 0) { cache_.truncate(length); }

  /// Reads ids [batch, T] in one pass; the logits [batch, V] after the last. Valid until the next
  /// call. Once shapes repeat, nothing is allocated.
  std::span<const real> read(std::span<const std::int32_t> ids);
  /// The same with the logits after every one: [batch, T, V].
  std::span<const real> read_all(std::span<const std::int32_t> ids);

 private:
  Tokens tokens(std::span<const std::int32_t> ids) const;
  void plan_memory(std::span<const std::int32_t> ids);

  const Model& model_;
  KvCache& cache_;
  Graph graph_, all_graph_;  // two, so that each repeats its own operations and keeps its plan
  bool planned_ = false;
};

}  // namespace notch::nn
