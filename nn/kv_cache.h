// KvCache: keys and values of the positions seen so far, so that a new token costs one row of work.
//
// A cache holds `batch` sequences of the same length. What differs between kinds is how a row is
// stored and how one head reads it back; those two are virtual, quantized kinds come from quant/.
// The order of the work is here, once:
//   a prompt into an empty cache is attended by the blocked kernel of training, on the exact keys
//   and values; what follows is attended query by query, each as if it had come alone, so that a
//   few tokens in one pass give the bits of one token at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "autograd/graph.h"
#include "autograd/kernels/attention.h"

namespace notch::nn {

struct KvShape {
  int n_layer = 0;
  int n_head = 0;
  std::int64_t channels = 0;  ///< of all heads
  std::int64_t capacity = 0;  ///< positions
  std::int64_t batch = 1;
  int n_kv_head = 0;  ///< heads of keys and values, a divisor of n_head; 0: n_head

  std::int64_t head_size() const { return channels / n_head; }
  std::int64_t kv_heads() const { return n_kv_head > 0 ? n_kv_head : n_head; }
  std::int64_t group() const { return n_head / kv_heads(); }  ///< queries per head of keys
};

class KvCache {
 public:
  /// Queries up to which every one is computed by itself even in an empty cache.
  static constexpr std::int64_t kFewQueries = 8;
  /// The newest positions whose exact values a quantized kind still has: as many may be taken back.
  static constexpr std::int64_t kTakeBack = 32;

  explicit KvCache(const KvShape& shape) : shape_(shape) {}
  virtual ~KvCache() = default;
  const KvShape& shape() const { return shape_; }
  std::int64_t length() const { return length_; }  ///< positions held
  std::int64_t capacity() const { return shape_.capacity; }

  /// Adds the keys and values of T new positions of `layer`, rows [batch, T] of x, and puts the
  /// attention of their queries into out [batch, T, C]; query i sees position length() + i and
  /// everything before. `scratch` holds workspace(T) elements. Parallel over sequences and heads of
  /// keys.
  void attend(int layer, std::span<real> out, const kernels::Qkv& x, std::int64_t T,
              std::span<real> scratch);
  std::int64_t workspace(std::int64_t T) const;

  /// Counts T positions as held, once every layer has attended: no more than there is room for.
  void advance(std::int64_t T);
  /// Forgets the positions from `length` on: all, or down to kTakeBack before the furthest position
  /// that was held since the cache was empty, in however many calls.
  void truncate(std::int64_t length);
  void clear() { truncate(0); }

  virtual std::int64_t bytes() const = 0;  ///< of keys and values, as allocated

 protected:
  /// One head of keys and values of one layer of one sequence.
  struct Head {
    int layer = 0;
    std::int64_t sequence = 0;
    std::int64_t head = 0;
    /// [n_layer][batch][kv_heads]
    std::int64_t index(const KvShape& s) const {
      return (layer * s.batch + sequence) * s.kv_heads() + head;
    }
  };

 private:
  /// Stores k [HS] and v [HS] at `position`; positions come in order.
  virtual void store(const Head& head, std::int64_t position, const real* k, const real* v) = 0;
  /// out [HS] of q [HS] over the positions 0 … seen - 1; p holds a multiple of 16 at least `seen`,
  /// and head_workspace(HS) elements behind.
  virtual void read(const Head& head, real* out, const real* q, std::int64_t seen,
                    real* p) const = 0;

  KvShape shape_;
  std::int64_t length_ = 0;
  std::int64_t furthest_ = 0;  // what the exact values kept by a quantized kind reach back from
};

/// Keys and values as they are.
class Fp32KvCache final : public KvCache {
 public:
  explicit Fp32KvCache(const KvShape& shape);
  /// `batch` copies of the only sequence that `one` holds: a prompt read once, however it goes on.
  Fp32KvCache(const Fp32KvCache& one, std::int64_t batch);
  Fp32KvCache(int n_layer, int n_head, std::int64_t channels, std::int64_t capacity)
      : Fp32KvCache(KvShape{n_layer, n_head, channels, capacity}) {}
  std::int64_t bytes() const override;

 private:
  void store(const Head& head, std::int64_t position, const real* k, const real* v) override;
  void read(const Head& head, real* out, const real* q, std::int64_t seen, real* p) const override;
  FlatBlock keys_, values_;  // autograd/kernels/cached_heads.h
};

/// Attention of qkv [B, T, 3C] through a cache -> [B, T, C]. Inference only.
Var cached_attention(Var qkv, KvCache& cache, int layer);
/// The same of q [B, T, C], k and v [B, T, kv_heads · head_size].
Var cached_attention(Var q, Var k, Var v, KvCache& cache, int layer);

}  // namespace notch::nn
