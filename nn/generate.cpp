#include "nn/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "autograd/base/elementary.h"
#include "nn/reader.h"

namespace notch::nn {
namespace {

// The id of the largest logit; of equals the smallest.
std::int32_t best(std::span<const real> logits) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool valid = !std::isnan(logits[i]) && logits[i] < std::numeric_limits<real>::infinity();
    if (!valid) {
      throw Error({.fault = Fault::numeric,
                   .where = "sample",
                   .what = str("the logit of token ", i, " is not finite"),
                   .found = str(logits[i])});
    }
    if (logits[i] > logits[at]) at = i;
  }
  if (!std::isfinite(logits[at])) {
    throw Error({.fault = Fault::numeric, .where = "sample", .what = "every logit is -inf"});
  }
  return static_cast<std::int32_t>(at);
}

}  // namespace

void check_prompt(const Sizes& sizes, std::span<const std::int32_t> prompt) {
  if (prompt.empty()) {
    throw Error({.fault = Fault::usage,
                 .where = "generate",
                 .what = "the prompt has no tokens",
                 .hint = "give at least one character, or the end-of-text token"});
  }
  for (const std::int32_t id : prompt) {
    if (id >= 0 && id < sizes.vocab_size) continue;
    throw Error({.fault = Fault::usage,
                 .where = "generate",
                 .what = "a prompt token is outside the vocabulary",
                 .found = std::to_string(id),
                 .expected = str("0 to ", sizes.vocab_size - 1),
                 .hint = "is this the tokenizer the model was trained with?"});
  }
}

void check_sampling(const Sampling& s) {
  check(std::isfinite(s.temperature) && s.temperature >= 0, "sampling", "temperature is ",
        s.temperature, "; expected a number >= 0 (0: always the most probable token)");
  check(s.top_k >= 0, "sampling", "top_k is ", s.top_k, "; expected >= 0 (0: all tokens)");
  check(s.top_p > 0 && s.top_p <= 1, "sampling", "top_p is ", s.top_p,
        "; expected 0 < top_p <= 1 (1: all tokens)");
  check(s.ids >= 0, "sampling", "ids is ", s.ids, "; expected >= 0 (0: all ids)");
}

Sampler::Sampler(const Sampling& sampling) : sampling_(sampling) { check_sampling(sampling); }

bool Sampler::more_probable(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

// The fewest most probable candidates that hold the share `top_p` of all.
void Sampler::cut_to_nucleus() {
  double all = 0, sum = 0;
  for (const Candidate& c : candidates_) all += c.weight;
  std::ranges::sort(candidates_, more_probable);
  std::size_t n = 0;
  while (n < candidates_.size() && (n == 0 || sum < sampling_.top_p * all))
    sum += candidates_[n++].weight;
  candidates_.resize(n);
}

std::span<const real> Sampler::possible(std::span<const real> logits) const {
  const auto ids = static_cast<std::size_t>(sampling_.ids);
  return ids == 0 ? logits : logits.first(std::min(ids, logits.size()));
}

std::span<const double> Sampler::weights(std::span<const real> logits) {
  logits = possible(logits);
  check(!logits.empty(), "sample", "there are no logits");
  const auto greedy = static_cast<std::size_t>(best(logits));
  weights_.assign(logits.size(), 0.0);
  if (sampling_.temperature == 0) {
    weights_[greedy] = total_ = 1;
    return weights_;
  }
  const auto max = static_cast<double>(logits[greedy]);
  candidates_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double below = static_cast<double>(logits[i]) - max;  // first: a tiny T cannot overflow
    candidates_[i] = {static_cast<std::int32_t>(i), elementary::exp(below / sampling_.temperature)};
  }
  const auto k = static_cast<std::size_t>(sampling_.top_k);
  if (k > 0 && k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                     candidates_.end(), more_probable);
    candidates_.resize(k);
  }
  if (sampling_.top_p < 1) cut_to_nucleus();
  for (const Candidate& c : candidates_) weights_[static_cast<std::size_t>(c.id)] = c.weight;
  total_ = 0;
  for (const double w : weights_) total_ += w;
  return weights_;
}

std::int32_t Sampler::draw(std::span<const real> logits, Rng& rng) {
  if (sampling_.temperature == 0) return best(possible(logits));
  const std::span<const double> all = weights(logits);
  return draw_from(all, total_, rng);
}

std::int32_t draw_from(std::span<const double> weights, double total, Rng& rng) {
  check(total > 0 && !weights.empty(), "sample", weights.size(), " weights that sum to ", total,
        " have nothing to draw");
  double left = rng.uniform() * total;
  std::int32_t chosen = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    chosen = static_cast<std::int32_t>(i);
    if (left < weights[i]) break;
    left -= weights[i];
  }
  return chosen;
}

std::int32_t sample(std::span<const real> logits, const Sampling& sampling, Rng& rng) {
  check(!logits.empty(), "sample", "there are no logits");
  return Sampler(sampling).draw(logits, rng);
}

std::int64_t positions_needed(const Sizes& sizes, std::int64_t prompt, std::int64_t n) {
  check(prompt >= 0 && n >= 0, "generate", "a prompt of ", prompt, " tokens and ", n, " after it");
  const std::int64_t block = sizes.block_size;
  return prompt >= block || n >= block - prompt ? block : prompt + n;
}

std::vector<std::int32_t> generate(const Model& model, std::span<const std::int32_t> prompt,
                                   std::int64_t n, const Sampling& sampling, Rng& rng,
                                   const OnToken& on_token, KvCache* cache) {
  Sampler sampler(sampling);
  check_prompt(model.sizes(), prompt);
  check(n >= 0, "generate", "n is ", n, "; expected at least 0");
  const auto block = static_cast<std::size_t>(model.sizes().block_size);
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  const auto last = [&](std::size_t count) {
    return std::span(std::as_const(text)).last(std::min(count, text.size()));
  };

  KvShape shape = kv_shape(model.sizes());
  shape.capacity = positions_needed(model.sizes(), std::ssize(prompt), n);
  check(!cache || cache->capacity() >= shape.capacity, "generate", "the cache holds ",
        cache ? cache->capacity() : 0, " of ", shape.capacity, " positions");
  std::unique_ptr<KvCache> own;
  if (!cache) own = std::make_unique<Fp32KvCache>(shape);
  Reader reader(model, cache ? *cache : *own);
  reader.forget();
  std::size_t unread = block;  // at the end of the text
  for (std::int64_t i = 0; i < n; ++i) {
    if (reader.room() == 0) {
      reader.forget();
      unread = std::max<std::size_t>(1, block / 2);
    }
    text.push_back(sampler.draw(reader.read(last(unread)), rng));
    unread = 1;
    if (on_token && !on_token(text.back())) break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace notch::nn
