#include "quant/serve/kv_cache.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/half.h"
#include "autograd/base/index.h"
#include "autograd/kernels/cached_heads.h"
#include "nn/kv_limits.h"
#include "quant/kernels/round.h"

namespace notch::quant {
namespace {

using kernels::kKeyBlock;
using kernels::padded_head;

Index heads(const nn::KvShape& s) { return s.n_layer * s.batch * s.kv_heads(); }

template <class T>
std::vector<T> room(Index n) {
  return std::vector<T>(static_cast<std::size_t>(n));
}

template <class T>
Index bytes_of(const std::vector<T>& v) {
  return static_cast<Index>(v.size() * sizeof(T));
}

std::uint16_t to_finite_f16(real x) {
  return to_f16(std::clamp(static_cast<float>(x), -kMaxF16, kMaxF16));
}

NOTCH_VECTOR(void, attend_halves, real* out, const real* q, const std::uint16_t* keys,
             const std::uint16_t* values, Index seen, Index HS, real* p) {
  kernels::attend_head(out, q, keys, values, seen, HS, p);
}

/// One head of an INT8 cache, as one query reads it.
struct Int8Head {
  const std::int8_t *keys, *values;
  const real *key_scales, *value_scales;
  const real *ring_keys, *ring_values;
  Index quantized, seen, HS, padded;
};

NOTCH_VECTOR(void, attend_bytes, real* out, const real* q, const Int8Head& h, real* p) {
  constexpr Index kBlock = Int8KvCache::kBlock, kRing = Int8KvCache::kRing;
  real* scaled = p + round_up(h.seen, kKeyBlock);
  real* sum = scaled + h.padded;
  const real scale = static_cast<real>(1 / std::sqrt(static_cast<double>(h.HS)));
  for (Index first = 0; first < h.quantized; first += kBlock) {
    const real* s = h.key_scales + first / kBlock * h.HS;
    for (Index c = 0; c < h.HS; ++c) scaled[c] = q[c] * scale * s[c];
    for (Index j = first; j < first + kBlock; j += kKeyBlock)
      kernels::key_scores(p + j, scaled, h.keys + j * h.HS, kKeyBlock, h.HS);
  }
  for (Index c = 0; c < h.HS; ++c) scaled[c] = q[c] * scale;
  for (Index j = h.quantized; j < h.seen; j += kKeyBlock)
    kernels::key_scores(p + j, scaled, h.ring_keys + j % kRing * h.HS, kKeyBlock, h.HS);
  kernels::softmax_scores(p, h.seen);
  for (Index j = 0; j < h.quantized; ++j) p[j] *= h.value_scales[j];
  std::fill_n(sum, h.padded, real{0});
  kernels::add_values(sum, p, h.values, h.quantized, h.padded);
  for (Index j = h.quantized; j < h.seen; j += kKeyBlock)
    kernels::add_values(sum, p + j, h.ring_values + j % kRing * h.padded,
                        std::min(kKeyBlock, h.seen - j), h.padded);
  std::copy_n(sum, h.HS, out);
}

/// The largest magnitude; NaN if there is one.
void take_largest(real& largest, real v) {
  const real a = std::fabs(v);
  if (a > largest || std::isnan(a)) largest = a;
}

/// Never 0; not finite where the values are not, so that what is read back is NaN.
real int8_scale(real largest) {
  const real scale = largest / 127;
  return scale == 0 ? real{1} : scale;
}

std::int8_t int8_code(real v, real scale) {
  const real q = round_clamped(v / scale, -127, 127);
  return std::isnan(q) ? std::int8_t{0} : static_cast<std::int8_t>(q);
}

}  // namespace

// ---- 16 bits ----

Fp16KvCache::Fp16KvCache(const nn::KvShape& s)
    : KvCache(nn::possible(s)),
      keys_(room<std::uint16_t>(heads(s) * round_up(s.capacity, kKeyBlock) * s.head_size())),
      values_(room<std::uint16_t>(heads(s) * s.capacity * padded_head(s.head_size()))) {}

Index Fp16KvCache::bytes() const { return bytes_of(keys_) + bytes_of(values_); }

void Fp16KvCache::store(const Head& head, Index position, const real* k, const real* v) {
  const nn::KvShape& s = shape();
  const Index HS = s.head_size();
  std::uint16_t* block = keys_.data() + head.index(s) * round_up(s.capacity, kKeyBlock) * HS +
                         position / kKeyBlock * kKeyBlock * HS + position % kKeyBlock;
  std::uint16_t* row = values_.data() + (head.index(s) * s.capacity + position) * padded_head(HS);
  for (Index c = 0; c < HS; ++c) block[c * kKeyBlock] = to_finite_f16(k[c]);
  for (Index c = 0; c < HS; ++c) row[c] = to_finite_f16(v[c]);
}

void Fp16KvCache::read(const Head& head, real* out, const real* q, Index seen, real* p) const {
  const nn::KvShape& s = shape();
  const Index HS = s.head_size();
  attend_halves(out, q, keys_.data() + head.index(s) * round_up(s.capacity, kKeyBlock) * HS,
                values_.data() + head.index(s) * s.capacity * padded_head(HS), seen, HS, p);
}

// ---- 8 bits ----

Int8KvCache::Int8KvCache(const nn::KvShape& s)
    : KvCache(nn::possible(s)),
      blocks_(s.capacity / kBlock),
      padded_(padded_head(s.head_size())),
      keys_(room<std::int8_t>(heads(s) * blocks_ * kBlock * s.head_size())),
      values_(room<std::int8_t>(heads(s) * blocks_ * kBlock * padded_)),
      key_scales_(room<real>(heads(s) * blocks_ * s.head_size())),
      value_scales_(room<real>(heads(s) * blocks_ * kBlock)),
      ring_keys_(room<real>(heads(s) * kRing * s.head_size())),
      ring_values_(room<real>(heads(s) * kRing * padded_)) {}

Index Int8KvCache::bytes() const {
  return bytes_of(keys_) + bytes_of(values_) + bytes_of(key_scales_) + bytes_of(value_scales_) +
         bytes_of(ring_keys_) + bytes_of(ring_values_);
}

void Int8KvCache::store(const Head& head, Index position, const real* k, const real* v) {
  const Index HS = shape().head_size(), at = head.index(shape()), slot = position % kRing;
  real* block =
      ring_keys_.data() + at * kRing * HS + slot / kKeyBlock * kKeyBlock * HS + slot % kKeyBlock;
  for (Index c = 0; c < HS; ++c) block[c * kKeyBlock] = k[c];
  std::copy_n(v, HS, ring_values_.data() + (at * kRing + slot) * padded_);
  const Index seen = position + 1;
  if (seen % kBlock == 0 && quantized(seen) > 0) quantize_block(at, quantized(seen) - kBlock);
}

void Int8KvCache::quantize_block(Index at, Index first) {
  const Index HS = shape().head_size(), slot = first % kRing;
  const real* exact_keys = ring_keys_.data() + (at * kRing + slot) * HS;
  std::int8_t* keys = keys_.data() + (at * blocks_ * kBlock + first) * HS;
  real* scales = key_scales_.data() + (at * blocks_ + first / kBlock) * HS;
  // A position's element of channel c: two runs of sixteen positions.
  const auto element = [&](Index c, Index j) {
    return j / kKeyBlock * kKeyBlock * HS + c * kKeyBlock + j % kKeyBlock;
  };
  for (Index c = 0; c < HS; ++c) {
    real largest = 0;
    for (Index j = 0; j < kBlock; ++j) take_largest(largest, exact_keys[element(c, j)]);
    scales[c] = int8_scale(largest);
    for (Index j = 0; j < kBlock; ++j)
      keys[element(c, j)] = int8_code(exact_keys[element(c, j)], scales[c]);
  }
  for (Index j = 0; j < kBlock; ++j) {
    const real* exact = ring_values_.data() + (at * kRing + slot + j) * padded_;
    std::int8_t* row = values_.data() + (at * blocks_ * kBlock + first + j) * padded_;
    real largest = 0;
    for (Index c = 0; c < HS; ++c) take_largest(largest, exact[c]);
    real& scale = value_scales_[static_cast<std::size_t>(at * blocks_ * kBlock + first + j)];
    scale = int8_scale(largest);
    for (Index c = 0; c < HS; ++c) row[c] = int8_code(exact[c], scale);
  }
}

void Int8KvCache::read(const Head& head, real* out, const real* q, Index seen, real* p) const {
  const Index HS = shape().head_size(), at = head.index(shape()), positions = at * blocks_ * kBlock;
  attend_bytes(out, q,
               {.keys = keys_.data() + positions * HS,
                .values = values_.data() + positions * padded_,
                .key_scales = key_scales_.data() + at * blocks_ * HS,
                .value_scales = value_scales_.data() + positions,
                .ring_keys = ring_keys_.data() + at * kRing * HS,
                .ring_values = ring_values_.data() + at * kRing * padded_,
                .quantized = quantized(seen),
                .seen = seen,
                .HS = HS,
                .padded = padded_},
               p);
}

std::int64_t kv_cache_bytes(KvKind kind, const nn::KvShape& s) {
  nn::possible(s);
  const Index HS = s.head_size(), padded = padded_head(HS);
  if (kind != KvKind::int8) {
    const Index elements = round_up(s.capacity, kKeyBlock) * HS + s.capacity * padded;
    return heads(s) * elements * (kind == KvKind::fp16 ? 2 : 4);
  }
  const Index blocks = s.capacity / Int8KvCache::kBlock, block = Int8KvCache::kBlock;
  const Index codes = blocks * block * (HS + padded), scales = blocks * (HS + block);
  return heads(s) * (codes + 4 * scales + 4 * Int8KvCache::kRing * (HS + padded));
}

std::unique_ptr<nn::KvCache> make_kv_cache(KvKind kind, const nn::KvShape& shape) {
  switch (kind) {
    case KvKind::fp16:
      return std::make_unique<Fp16KvCache>(shape);
    case KvKind::int8:
      return std::make_unique<Int8KvCache>(shape);
    case KvKind::fp32:
      break;
  }
  return std::make_unique<nn::Fp32KvCache>(shape);
}

}  // namespace notch::quant
