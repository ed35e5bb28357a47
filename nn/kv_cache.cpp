#include "nn/kv_cache.h"

#include <algorithm>

#include "autograd/base/extents.h"
#include "autograd/base/index.h"
#include "autograd/base/thread_pool.h"
#include "autograd/kernels/cached_heads.h"
#include "nn/kv_limits.h"

namespace notch::nn {
namespace {

struct CachedAttention {
  static constexpr std::string_view name = "cached_attention";
  KvCache* cache;
  int layer;
  Tensor forward(Forward& f) {
    const KvShape& s = cache->shape();
    const Tensor first = f.in(0);  // qkv, or q before k and v
    const bool packed = f.inputs() == 1;
    const std::int64_t width = packed ? 3 * s.channels : s.channels;
    check(first.shape.rank() == 3 && first.shape[0] == s.batch && first.cols() == width, name,
          packed ? "qkv is " : "q is ", first.shape, "; the cache wants [", s.batch, ", T, ", width,
          "]");
    const std::int64_t T = first.shape[1];
    check(cache->length() + T <= cache->capacity(), name, cache->length(), " positions and ", T,
          " new ones, but the cache holds ", cache->capacity());
    const Tensor y = f.out(first.shape.with(2, s.channels));
    cache->attend(layer, y.flat(), packed ? packed_rows(first) : rows(f), T,
                  f.scratch(cache->workspace(T)));
    return y;
  }
  kernels::Qkv packed_rows(const Tensor& qkv) const {
    check(cache->shape().group() == 1, name, "a packed qkv, but the cache shares heads of keys");
    return kernels::packed_qkv(std::span<const real>(qkv.flat()), cache->shape().channels);
  }
  kernels::Qkv rows(const Forward& f) const {
    const KvShape& s = cache->shape();
    const std::int64_t width = s.kv_heads() * s.head_size();
    const Shape wanted = f.in(0).shape.with(2, width);
    check(f.in(1).shape == wanted && f.in(2).shape == wanted, name, "k is ", f.in(1).shape,
          " and v ", f.in(2).shape, "; the cache wants ", wanted);
    return {f.in(0).flat(), f.in(1).flat(), f.in(2).flat(), s.channels, width};
  }
  void backward(Backward&) const {
    throw Error(
        {.where = std::string(name), .what = "a cache is for inference; it has no gradient"});
  }
};

/// Elements of scratch that one head needs: the scores, and two padded heads.
std::int64_t head_workspace(const KvShape& s) {
  return round_up(s.capacity, kernels::kKeyBlock) + 2 * kernels::padded_head(s.head_size());
}

kernels::AttentionShape prompt_shape(const KvShape& s, std::int64_t T) {
  return {.B = s.batch, .T = T, .NH = s.n_head, .HS = s.head_size(), .KV = s.kv_heads()};
}

NOTCH_VECTOR(void, attend_exact, real* out, const real* q, const real* keys, const real* values,
             std::int64_t seen, std::int64_t HS, real* p) {
  kernels::attend_head(out, q, keys, values, seen, HS, p);
}

std::size_t elements(const KvShape& s, std::int64_t per_head) {
  return static_cast<std::size_t>(s.n_layer * s.batch * s.kv_heads() * per_head);
}

void require_room(const KvCache& cache, std::int64_t T) {
  check(T >= 0 && T <= cache.capacity() - cache.length(), "kv cache", "holds ", cache.length(),
        " of ", cache.capacity(), " positions, and ", T, " more are given");
}

void require_call(const KvCache& cache, int layer, std::span<const real> out, const kernels::Qkv& x,
                  std::int64_t T, std::span<const real> scratch) {
  const KvShape& s = cache.shape();
  check(layer >= 0 && layer < s.n_layer, "kv cache", "layer ", layer, " of ", s.n_layer);
  require_room(cache, T);
  const auto span_of = [&](std::int64_t distance, std::int64_t width) {
    check(T == 0 || distance >= width, "kv cache", "rows of ", width, " values lie ", distance,
          " apart");
    return T == 0 ? 0 : extent("kv cache", {s.batch * T - 1, distance}) + width;
  };
  require_extent("kv cache", s.batch * T * s.channels, out);
  require_extent("kv cache", span_of(x.q_row, s.channels), x.q);
  require_extent("kv cache", span_of(x.kv_row, s.kv_heads() * s.head_size()), x.k, x.v);
  require_extent("kv cache", cache.workspace(T), scratch);
}

}  // namespace

const KvShape& possible(const KvShape& s) {
  check(s.n_layer > 0 && s.n_head > 0 && s.channels > 0 && s.capacity > 0 && s.batch > 0 &&
            s.n_kv_head >= 0 && s.channels % s.n_head == 0 && s.n_head % s.kv_heads() == 0,
        "kv cache", "no cache has ", s.n_layer, " layers of ", s.channels, " channels in ",
        s.n_head, " heads, ", s.n_kv_head, " of keys, and ", s.capacity, " positions of ", s.batch,
        " sequences");
  constexpr std::int64_t kPadding = 64;  // no kind rounds positions or channels up by more
  check(std::max(s.capacity, s.head_size()) <= std::int64_t{1} << 60, "kv cache", "of ", s.capacity,
        " positions and ", s.channels, " channels is no size of memory");
  extent("kv cache", {s.n_layer, s.batch, s.kv_heads(), s.capacity + kPadding,
                      s.head_size() + kPadding, std::int64_t{sizeof(real)}});
  return s;
}

void KvCache::attend(int layer, std::span<real> out, const kernels::Qkv& x, std::int64_t T,
                     std::span<real> scratch) {
  require_call(*this, layer, out, x, T, scratch);
  const std::int64_t C = shape_.channels, HS = shape_.head_size(), heads = shape_.kv_heads();
  const std::int64_t each = head_workspace(shape_), group = shape_.group();
  const bool prompt = length_ == 0 && T > kFewQueries;
  parallel_for(shape_.batch * heads, [&](std::int64_t i) {
    const Head head{layer, i / heads, i % heads};
    const std::int64_t first = head.sequence * T, channel = head.head * HS;
    const real *k = x.k.data() + first * x.kv_row + channel,
               *v = x.v.data() + first * x.kv_row + channel;
    const real* q = x.q.data() + first * x.q_row + channel * group;
    real* y = out.data() + first * C + channel * group;
    for (std::int64_t begin = 0; begin < T; begin += kTakeBack) {
      const std::int64_t end = std::min(T, begin + kTakeBack);
      for (std::int64_t t = begin; t < end; ++t)
        store(head, length_ + t, k + t * x.kv_row, v + t * x.kv_row);
      if (prompt) continue;
      for (std::int64_t t = begin; t < end; ++t) {
        for (std::int64_t h = 0; h < group; ++h)
          read(head, y + t * C + h * HS, q + t * x.q_row + h * HS, length_ + t + 1,
               scratch.data() + i * each);
      }
    }
  });
  if (!prompt) return;
  const std::int64_t lse = shape_.batch * shape_.n_head * T;
  kernels::attention_forward(out, scratch.first(static_cast<std::size_t>(lse)), x,
                             prompt_shape(shape_, T),
                             scratch.subspan(static_cast<std::size_t>(lse)));
}

std::int64_t KvCache::workspace(std::int64_t T) const {
  if (length_ > 0 || T <= kFewQueries)
    return shape_.batch * shape_.kv_heads() * head_workspace(shape_);
  return shape_.batch * shape_.n_head * T + kernels::attention_workspace(prompt_shape(shape_, T));
}

void KvCache::advance(std::int64_t T) {
  require_room(*this, T);
  length_ += T;
  furthest_ = std::max(furthest_, length_);
}

void KvCache::truncate(std::int64_t length) {
  check(length == 0 || (length > 0 && length <= length_ && furthest_ - length <= kTakeBack),
        "kv cache", "holds ", length_, " positions, held ", furthest_, " and cannot go back to ",
        length);
  length_ = length;
  if (length == 0) furthest_ = 0;
}

Fp32KvCache::Fp32KvCache(const KvShape& s)
    : KvCache(possible(s)),
      keys_(elements(s, round_up(s.capacity, kernels::kKeyBlock) * s.head_size())),
      values_(elements(s, s.capacity * kernels::padded_head(s.head_size()))) {}

Fp32KvCache::Fp32KvCache(const Fp32KvCache& one, std::int64_t batch)
    : Fp32KvCache([&] {
        check(one.shape().batch == 1, "kv cache", "copies are of one sequence, not of ",
              one.shape().batch);
        KvShape shape = one.shape();
        shape.batch = batch;
        return shape;
      }()) {
  const auto layers = static_cast<std::size_t>(shape().n_layer);
  const auto repeat = [&](std::span<const real> from, std::span<real> to) {
    const std::size_t n = from.size() / layers;
    for (std::size_t i = 0; i < layers * static_cast<std::size_t>(batch); ++i) {
      std::ranges::copy(from.subspan(i / static_cast<std::size_t>(batch) * n, n),
                        to.begin() + static_cast<std::ptrdiff_t>(i * n));
    }
  };
  repeat(one.keys_.flat(), keys_.flat());
  repeat(one.values_.flat(), values_.flat());
  advance(one.length());
}

std::int64_t Fp32KvCache::bytes() const {
  return static_cast<std::int64_t>((keys_.size() + values_.size()) * sizeof(real));
}

void Fp32KvCache::store(const Head& head, std::int64_t position, const real* k, const real* v) {
  using kernels::kKeyBlock;
  const KvShape& s = shape();
  const std::int64_t HS = s.head_size(), padded = kernels::padded_head(HS);
  real* block = keys_.flat().data() + head.index(s) * round_up(s.capacity, kKeyBlock) * HS +
                position / kKeyBlock * kKeyBlock * HS + position % kKeyBlock;
  for (std::int64_t c = 0; c < HS; ++c) block[c * kKeyBlock] = k[c];
  std::copy_n(v, HS, values_.flat().data() + (head.index(s) * s.capacity + position) * padded);
}

void Fp32KvCache::read(const Head& head, real* out, const real* q, std::int64_t seen,
                       real* p) const {
  const KvShape& s = shape();
  const std::int64_t HS = s.head_size();
  attend_exact(
      out, q, keys_.flat().data() + head.index(s) * round_up(s.capacity, kernels::kKeyBlock) * HS,
      values_.flat().data() + head.index(s) * s.capacity * kernels::padded_head(HS), seen, HS, p);
}

Var cached_attention(Var qkv, KvCache& cache, int layer) {
  return qkv.tape().record(CachedAttention{&cache, layer}, {qkv});
}

Var cached_attention(Var q, Var k, Var v, KvCache& cache, int layer) {
  return q.tape().record(CachedAttention{&cache, layer}, {q, k, v});
}

}  // namespace notch::nn
