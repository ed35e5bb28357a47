#include "quant/serve/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/names.h"
#include "nn/gpt.h"
#include "nn/speculate.h"
#include "tests/catch.h"
#include "tests/quant/random_matrix.h"

namespace kv_cache_test {

using namespace notch;
using namespace notch::quant;
using namespace notch::test;

constexpr nn::KvShape kShape{
    .n_layer = 1, .n_head = 2, .channels = 40, .capacity = 200, .batch = 1};

/// Attention of positions [from, from + n) of qkv [.., T, 3C] fed to the cache in pieces.
std::vector<real> fed(nn::KvCache& cache, const std::vector<real>& qkv, std::int64_t from,
                      const std::vector<std::int64_t>& pieces) {
  const std::int64_t C = cache.shape().channels, B = cache.shape().batch;
  std::vector<real> all;
  std::int64_t at = from;
  for (const std::int64_t T : pieces) {
    std::vector<real> out(static_cast<std::size_t>(B * T * C));
    std::vector<real> scratch(static_cast<std::size_t>(cache.workspace(T)));
    const auto rows = std::span(qkv).subspan(static_cast<std::size_t>(at * 3 * C),
                                             static_cast<std::size_t>(B * T * 3 * C));
    cache.attend(0, out, kernels::packed_qkv(rows, C), T, scratch);
    cache.advance(T);
    at += T;
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

std::vector<std::int64_t> ones(std::int64_t n) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(n), 1);
}

/// Exact attention in double, and what the stored precision can change of it, both from the
/// definition.
struct Expected {
  std::vector<double> out, bound;
};

/// The largest error of one stored element, given itself and the largest of its group.
double stored_error(KvKind kind, double value, double largest) {
  if (kind == KvKind::int8) return largest / 127 / 2 * (1 + 1e-6);  // half a step
  if (kind == KvKind::fp16) return std::fabs(value) * 0x1p-11 + 0x1p-25;
  return 0;
}

/// With e the errors of the elements: a score moves by at most δ = Σ|q| e / √HS, so a probability
/// by a factor within e^(±2δ); out = Σ p v moves by at most max e_v + (e^(2δ) - 1) max|v|. The
/// float arithmetic adds its own: sums of HS and of `seen` terms, and exp.
Expected expected(KvKind kind, const std::vector<real>& qkv, std::int64_t T) {
  const std::int64_t C = kShape.channels, HS = kShape.head_size();
  const double eps = std::numeric_limits<real>::epsilon();
  const auto at = [&](std::int64_t t, std::int64_t c) {
    return static_cast<double>(qkv[static_cast<std::size_t>(t * 3 * C + c)]);
  };
  Expected e;
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t h = 0; h < kShape.n_head; ++h) {
      std::vector<double> s(static_cast<std::size_t>(t + 1));
      double delta = 0, value_error = 0, largest_value = 0;
      for (std::int64_t j = 0; j <= t; ++j) {
        double error = 0, magnitude = 0, row_largest = 0;
        for (std::int64_t c = 0; c < HS; ++c) {
          const double q = at(t, h * HS + c), k = at(j, C + h * HS + c);
          double block_largest = 0;
          const std::int64_t first = j / 32 * 32;
          for (std::int64_t i = first; i < std::min(first + 32, T); ++i)
            block_largest = std::max(block_largest, std::fabs(at(i, C + h * HS + c)));
          s[static_cast<std::size_t>(j)] += q * k / std::sqrt(static_cast<double>(HS));
          error += std::fabs(q) * stored_error(kind, k, block_largest);
          magnitude += std::fabs(q * k);
          row_largest = std::max(row_largest, std::fabs(at(j, 2 * C + h * HS + c)));
        }
        const double root = std::sqrt(static_cast<double>(HS));
        delta =
            std::max(delta, error / root + (static_cast<double>(HS) + 8) * eps * magnitude / root);
        value_error = std::max(value_error, stored_error(kind, row_largest, row_largest));
        largest_value = std::max(largest_value, row_largest);
      }
      const double top = *std::max_element(s.begin(), s.end());
      double sum = 0;
      for (double& v : s) sum += v = std::exp(v - top);
      for (std::int64_t c = 0; c < HS; ++c) {
        double y = 0;
        for (std::int64_t j = 0; j <= t; ++j)
          y += s[static_cast<std::size_t>(j)] / sum * at(j, 2 * C + h * HS + c);
        e.out.push_back(y);
        e.bound.push_back(value_error + std::expm1(2 * delta) * largest_value +
                          (static_cast<double>(t) + 16) * eps * largest_value);
      }
    }
  }
  return e;
}

/// Weights so large that a rounding of the cache soon changes the text.
std::unique_ptr<nn::Gpt> decided_model(std::uint64_t seed) {
  auto model = std::make_unique<nn::Gpt>(
      nn::GptConfig{.vocab_size = 40, .block_size = 160, .n_layer = 3, .n_head = 2, .n_embd = 16});
  model->init(seed);
  for (Param& p : model->params().params()) {
    if (p.value.shape.rank() != 2) continue;
    for (real& v : p.value.flat()) v *= 40;
  }
  return model;
}

TEST_CASE("greedy speculation writes what generate does, with every cache") {
  // Prompts of more than two blocks of 32 positions: part of an INT8 cache is integers when the text
  // begins. The window moves as well.
  for (const KvKind kind : {KvKind::fp16, KvKind::int8}) {
    int visible = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      INFO(word_of(kind) << ", seed " << seed);
      const auto large = decided_model(3 + seed), small = decided_model(2);
      std::vector<std::int32_t> prompt(static_cast<std::size_t>(70 + 2 * (seed % 40)));
      Rng text(seed, 5);
      for (std::int32_t& id : prompt) id = static_cast<std::int32_t>(text.below(40));
      const auto cache = make_kv_cache(kind, nn::kv_shape(large->sizes()));
      const auto drafts = make_kv_cache(kind, nn::kv_shape(small->sizes()));
      Rng rng(1);
      const nn::Sampling greedy{.temperature = 0};
      const auto plain = nn::generate(*large, prompt, 100, greedy, rng, {}, cache.get());
      visible += plain != nn::generate(*large, prompt, 100, greedy, rng);
      const nn::Draft draft{*small, *drafts, 4};
      CHECK(nn::speculate(*large, *cache, draft, prompt, 100, greedy, rng).tokens == plain);
    }
    CHECK(visible > 5);  // the cache's rounding shows in these texts
  }
}

TEST_CASE("every cache attends within the bound that its rounding implies") {
  const std::int64_t T = 150;
  const std::vector<real> qkv = normal_matrix(T * 3 * kShape.channels, 5);
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    const auto cache = make_kv_cache(kind, kShape);
    const std::vector<real> out = fed(*cache, qkv, 0, ones(T));
    const Expected e = expected(kind, qkv, T);
    double worst = 0;
    for (std::size_t i = 0; i < out.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(out[i]) - e.out[i]) / e.bound[i]);
    INFO(word_of(kind) << " uses " << worst << " of its bound");
    CHECK(worst <= 1);
    CHECK(worst > 0);
  }
}

TEST_CASE("a prompt in one pass attends exact keys and values") {
  const std::int64_t T = 150;
  const std::vector<real> qkv = normal_matrix(T * 3 * kShape.channels, 6);
  const Expected e = expected(KvKind::fp32, qkv, T);
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    const auto cache = make_kv_cache(kind, kShape);
    const std::vector<real> out = fed(*cache, qkv, 0, {T});
    for (std::size_t i = 0; i < out.size(); ++i)
      REQUIRE(std::fabs(static_cast<double>(out[i]) - e.out[i]) <= e.bound[i]);
  }
}

TEST_CASE("several tokens in a pass get the bits of one at a time") {
  const std::int64_t T = 180;
  const std::vector<real> qkv = normal_matrix(T * 3 * kShape.channels, 7);
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    const auto single = make_kv_cache(kind, kShape);
    const std::vector<real> one = fed(*single, qkv, 0, ones(T));
    for (const std::vector<std::int64_t>& pieces :
         {std::vector<std::int64_t>{8, 5, 40, 97, 30}, std::vector<std::int64_t>{1, 179}}) {
      const auto cache = make_kv_cache(kind, kShape);
      CHECK(fed(*cache, qkv, 0, pieces) == one);
    }
  }
}

TEST_CASE("positions that are taken back leave no trace") {
  const std::int64_t T = 160;
  const std::vector<real> qkv = normal_matrix(T * 3 * kShape.channels, 8);
  const std::vector<real> other = normal_matrix(T * 3 * kShape.channels, 9);
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    const auto plain = make_kv_cache(kind, kShape);
    const std::vector<real> expected_out = fed(*plain, qkv, 0, ones(T));
    const auto cache = make_kv_cache(kind, kShape);
    std::vector<real> out;
    for (std::int64_t t = 0; t < T; t += 5) {
      const std::vector<real> kept = fed(*cache, qkv, t, ones(5));
      out.insert(out.end(), kept.begin(), kept.end());
      fed(*cache, other, 0, {nn::KvCache::kTakeBack});
      cache->truncate(t + 5);
    }
    CHECK(out == expected_out);
    CHECK(error_of([&] { cache->truncate(T - 33); }).fault == Fault::usage);
    // Nor by one more in a second call: it held T + kTakeBack, which overwrote exact values.
    CHECK(error_of([&] { cache->truncate(T - 1); }).fault == Fault::usage);
    cache->clear();
    CHECK(cache->length() == 0);
  }
}

TEST_CASE("the sequences of a batch do not see each other") {
  nn::KvShape two = kShape;
  two.batch = 2;
  const std::int64_t C = kShape.channels;
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    const auto both = make_kv_cache(kind, two);
    const auto a = make_kv_cache(kind, kShape), b = make_kv_cache(kind, kShape);
    for (std::uint64_t t = 0; t < 80; ++t) {
      const std::vector<real> row = normal_matrix(2 * 3 * C, 100 + t);
      const std::vector<real> out = fed(*both, row, 0, {1});
      std::vector<real> separate = fed(*a, row, 0, {1});
      const std::vector<real> second = fed(*b, row, 1, {1});
      separate.insert(separate.end(), second.begin(), second.end());
      REQUIRE(out == separate);
    }
  }
}

TEST_CASE("a shared head of keys gives the bits of a repeated one") {
  const nn::KvShape repeated{.n_layer = 1, .n_head = 6, .channels = 48, .capacity = 160};
  nn::KvShape shared = repeated;
  shared.n_kv_head = 2;
  const std::int64_t HS = 8, C = 48, KC = 2 * HS, T = 150;
  const std::vector<real> q = normal_matrix(T * C, 11), k = normal_matrix(T * KC, 12),
                          v = normal_matrix(T * KC, 13);
  std::vector<real> full_k, full_v;
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t c = 0; c < C; ++c) {
      const auto from = static_cast<std::size_t>(t * KC + c / (3 * HS) * HS + c % HS);
      full_k.push_back(k[from]);
      full_v.push_back(v[from]);
    }
  const auto attend = [&](nn::KvCache& cache, const kernels::Qkv& x, std::int64_t n) {
    std::vector<real> out(static_cast<std::size_t>(n * C));
    std::vector<real> scratch(static_cast<std::size_t>(cache.workspace(n)));
    cache.attend(0, out, x, n, scratch);
    cache.advance(n);
    return out;
  };
  const auto from = [](const std::vector<real>& x, std::int64_t i) {
    return std::span(x).subspan(static_cast<std::size_t>(i));
  };
  for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8}) {
    INFO(word_of(kind));
    const auto whole = make_kv_cache(kind, repeated), few = make_kv_cache(kind, shared);
    CHECK(few->bytes() * 3 == whole->bytes());
    CHECK(few->bytes() == kv_cache_bytes(kind, shared));
    std::int64_t t = 0;
    for (const std::int64_t n : {100, 1, 9, 40}) {  // a prompt, and what follows it
      CHECK(attend(*few, {from(q, t * C), from(k, t * KC), from(v, t * KC), C, KC}, n) ==
            attend(*whole, {from(q, t * C), from(full_k, t * C), from(full_v, t * C), C, C}, n));
      t += n;
    }
  }
}

TEST_CASE("16 bits halve a cache's memory, 8 come near a quarter") {
  const nn::KvShape s{.n_layer = 2, .n_head = 4, .channels = 256, .capacity = 1024};
  const auto bytes = [&](KvKind kind) { return make_kv_cache(kind, s)->bytes(); };
  CHECK(bytes(KvKind::fp32) == 2 * 2 * 256 * 1024 * 4);
  CHECK(bytes(KvKind::fp16) * 2 == bytes(KvKind::fp32));
  // Codes 1 byte, key scales 4/32, value scales 4/64, and 96 exact positions of 1024.
  const double expected_ratio = (1 + (0.125 + 0.0625) / 2 + 4 * 96.0 / 1024) / 4;
  CHECK(static_cast<double>(bytes(KvKind::int8)) / static_cast<double>(bytes(KvKind::fp32)) ==
        Approx(expected_ratio));
  for (const nn::KvShape& shape : {s, kShape})
    for (const KvKind kind : {KvKind::fp32, KvKind::fp16, KvKind::int8})
      CHECK(kv_cache_bytes(kind, shape) == make_kv_cache(kind, shape)->bytes());
}

TEST_CASE("values that are not finite come out of a quantized cache as NaN") {
  for (const KvKind kind : {KvKind::fp32, KvKind::int8}) {
    const auto cache = make_kv_cache(kind, kShape);
    std::vector<real> qkv = normal_matrix(140 * 3 * kShape.channels, 10);
    qkv[static_cast<std::size_t>(3 * 3 * kShape.channels + kShape.channels)] =
        std::numeric_limits<real>::quiet_NaN();  // the first key channel of position 3
    const std::vector<real> out = fed(*cache, qkv, 0, ones(140));
    CHECK(std::isnan(out[out.size() - static_cast<std::size_t>(kShape.channels)]));
  }
}

}  // namespace kv_cache_test
