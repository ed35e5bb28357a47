#include "nn/kv_cache.h"

#include <algorithm>

#include "autograd/kernels/attention.h"

namespace notch::nn {
namespace {

struct CachedAttention {
  static constexpr std::string_view name = "cached_attention";
  KvCache* cache;
  int layer;
  Tensor forward(Forward& f) {
    const Tensor qkv = f.in(0);
    check(qkv.shape.rank() == 3 && qkv.shape[0] == 1, name, "qkv is ", qkv.shape,
          "; a cache holds one sequence: wanted [1, T, 3C]");
    const std::int64_t T = qkv.shape[1];
    check(cache->length() + T <= cache->capacity(), name, cache->length(), " positions and ", T,
          " new ones, but the cache holds ", cache->capacity());
    const Tensor y = f.out(qkv.shape.with(2, qkv.cols() / 3));
    cache->append(layer, qkv.flat(), T);
    cache->attend(layer, y.flat(), qkv.flat(), T, f.scratch(cache->workspace(T)));
    return y;
  }
  void backward(Backward&) const {
    throw Error(
        {.where = std::string(name), .what = "a cache is for inference; it has no gradient"});
  }
};

std::span<real> rows(std::span<real> all, std::int64_t begin, std::int64_t n) {
  return all.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n));
}

}  // namespace

Fp32KvCache::Fp32KvCache(int n_layer, int n_head, std::int64_t channels, std::int64_t capacity)
    : n_head_(n_head),
      channels_(channels),
      capacity_(capacity),
      data_(static_cast<std::size_t>(2 * n_layer * channels * capacity)) {}

std::span<real> Fp32KvCache::keys(int layer) {
  return rows(data_.flat(), 2 * layer * capacity_ * channels_, capacity_ * channels_);
}

std::span<real> Fp32KvCache::values(int layer) {
  return rows(data_.flat(), (2 * layer + 1) * capacity_ * channels_, capacity_ * channels_);
}

void Fp32KvCache::append(int layer, std::span<const real> qkv, std::int64_t T) {
  for (std::int64_t t = 0; t < T; ++t) {
    const real* row = qkv.data() + t * 3 * channels_;
    const std::int64_t at = (length_ + t) * channels_;
    std::copy_n(row + channels_, channels_, keys(layer).data() + at);
    std::copy_n(row + 2 * channels_, channels_, values(layer).data() + at);
  }
}

std::int64_t Fp32KvCache::workspace(std::int64_t T) const {
  return kernels::attention_cached_workspace(
      {.Tq = T, .n_past = capacity_ - T, .NH = n_head_, .HS = channels_ / n_head_});
}

void Fp32KvCache::attend(int layer, std::span<real> out, std::span<const real> qkv, std::int64_t T,
                         std::span<real> scratch) {
  kernels::attention_cached(
      out, qkv, keys(layer), values(layer),
      {.Tq = T, .n_past = length_, .NH = n_head_, .HS = channels_ / n_head_, .ld_q = 3 * channels_},
      scratch);
}

Var cached_attention(Var qkv, KvCache& cache, int layer) {
  return qkv.graph->record(CachedAttention{&cache, layer}, {qkv});
}

}  // namespace notch::nn
