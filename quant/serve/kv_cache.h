// Key/value caches of 16 and 8 bits.
//
// FP16: binary16, rounded half to even; magnitudes above 65504 become 65504.
// INT8: codes -127 … 127, symmetric. Keys have a scale per channel, over a block of 32 positions
// (their outliers stay in the same channels), values one per position and head (Liu et al. 2024,
// KIVI, arXiv:2402.02750, section 3). A block is quantized when 32 positions have come after it:
// the newest 32 to 63 positions are always exact, and a query reads each position as it would have
// if it had come alone.
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "nn/kv_cache.h"

namespace notch::quant {

class Fp16KvCache final : public nn::KvCache {
 public:
  explicit Fp16KvCache(const nn::KvShape& shape);
  std::int64_t bytes() const override;

 private:
  void store(const Head& head, std::int64_t position, const real* k, const real* v) override;
  void read(const Head& head, real* out, const real* q, std::int64_t seen, real* p) const override;
  std::vector<std::uint16_t> keys_, values_;  // autograd/kernels/cached_heads.h
};

class Int8KvCache final : public nn::KvCache {
 public:
  static constexpr std::int64_t kBlock = 32;         ///< positions that share a key channel's scale
  static constexpr std::int64_t kRing = 3 * kBlock;  ///< exact positions kept, so that they can be
                                                     ///< taken back
  explicit Int8KvCache(const nn::KvShape& shape);
  std::int64_t bytes() const override;

  /// How many of `seen` positions the last query reads as integers.
  static constexpr std::int64_t quantized(std::int64_t seen) {
    return seen < 2 * kBlock ? 0 : (seen / kBlock - 1) * kBlock;
  }

 private:
  void store(const Head& head, std::int64_t position, const real* k, const real* v) override;
  void read(const Head& head, real* out, const real* q, std::int64_t seen, real* p) const override;
  void quantize_block(std::int64_t head_index, std::int64_t first);

  std::int64_t blocks_ = 0, padded_ = 0;
  std::vector<std::int8_t> keys_;              // [heads][blocks · 2][HS][16]
  std::vector<std::int8_t> values_;            // [heads][blocks · 32][padded HS]
  std::vector<real> key_scales_;               // [heads][blocks][HS]
  std::vector<real> value_scales_;             // [heads][blocks · 32]
  std::vector<real> ring_keys_, ring_values_;  // [heads][ring], laid out like an exact cache
};

enum class KvKind : std::uint8_t { fp32, fp16, int8 };
constexpr auto names(KvKind) { return std::array<std::string_view, 3>{"fp32", "fp16", "int8"}; }

std::unique_ptr<nn::KvCache> make_kv_cache(KvKind kind, const nn::KvShape& shape);

/// bytes() of such a cache, without making it; floats of 4 bytes.
std::int64_t kv_cache_bytes(KvKind kind, const nn::KvShape& shape);

}  // namespace notch::quant
