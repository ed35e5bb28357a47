// KvCache: keys and values of the positions seen so far, so that a new token costs one row of work.
//
// An interface, because quantized caches come from quant/. One cache belongs to one sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/graph.h"

namespace notch::nn {

class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual std::int64_t length() const = 0;    ///< positions held
  virtual std::int64_t capacity() const = 0;  ///< positions it can hold
  /// Adds the keys and values of T new positions of `layer`, packed as qkv [T, 3C].
  virtual void append(int layer, std::span<const real> qkv, std::int64_t T) = 0;
  /// out [T, C] for the queries of qkv [T, 3C], which were just appended; query i sees position
  /// length() + i and everything before. `scratch` holds workspace(T) elements.
  virtual void attend(int layer, std::span<real> out, std::span<const real> qkv, std::int64_t T,
                      std::span<real> scratch) = 0;
  virtual std::int64_t workspace(std::int64_t T) const = 0;
  /// Counts T positions as held, once every layer has appended them.
  virtual void advance(std::int64_t T) = 0;
  virtual void clear() = 0;
};

/// Keys and values as they are.
class Fp32KvCache final : public KvCache {
 public:
  Fp32KvCache(int n_layer, int n_head, std::int64_t channels, std::int64_t capacity);
  std::int64_t length() const override { return length_; }
  std::int64_t capacity() const override { return capacity_; }
  void append(int layer, std::span<const real> qkv, std::int64_t T) override;
  void attend(int layer, std::span<real> out, std::span<const real> qkv, std::int64_t T,
              std::span<real> scratch) override;
  std::int64_t workspace(std::int64_t T) const override;
  void advance(std::int64_t T) override { length_ += T; }
  void clear() override { length_ = 0; }

 private:
  std::span<real> keys(int layer);
  std::span<real> values(int layer);
  std::int64_t n_head_, channels_, capacity_, length_ = 0;
  FlatBlock data_;  // [n_layer][keys, values][capacity, C]
};

/// Attention of qkv [1, T, 3C] through a cache -> [1, T, C]. Inference only.
Var cached_attention(Var qkv, KvCache& cache, int layer);

}  // namespace notch::nn
