// Generation: one token after the other, through a key/value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "autograd/base/rng.h"
#include "nn/model.h"

namespace notch::nn {

/// How a token is chosen from logits l, in this order:
///   ids:         none from `ids` on: a padded table has more rows than its tokenizer has texts
///   temperature: p ∝ exp(l / temperature); 0 takes the largest logit (the smallest id of equals)
///   top_k:       the k most probable tokens; of equals at the edge the smaller ids
///   top_p:       of those, renormalised, the fewest most probable ones whose probabilities sum to
///                at least top_p (Holtzman et al. 2020, "nucleus")
struct Sampling {
  double temperature = 1;
  int top_k = 0;     ///< 0: all
  double top_p = 1;  ///< 1: all
  int ids = 0;       ///< 0: all

  bool operator==(const Sampling&) const = default;
};

/// Throws Fault::usage unless temperature >= 0 and finite, top_k >= 0, 0 < top_p <= 1, ids >= 0.
void check_sampling(const Sampling& sampling);

/// Draws tokens. It keeps its working memory, so that a token costs no allocation.
class Sampler {
 public:
  /// Throws as check_sampling.
  explicit Sampler(const Sampling& sampling);

  /// The distribution over the ids, [V] or [sampling.ids], that `sampling` makes of logits: weights that sum to
  /// total(), 0 where a token cannot come. Computed in double. Valid until the next call. -inf
  /// means never; a logit that is NaN or +inf, or all -inf: Fault::numeric.
  std::span<const double> weights(std::span<const real> logits);
  double total() const { return total_; }

  /// A token from weights(logits); one number is drawn from `rng`, none when greedy.
  std::int32_t draw(std::span<const real> logits, Rng& rng);

 private:
  struct Candidate {
    std::int32_t id = 0;
    double weight = 0;  // not normalised: exp((logit - max) / temperature)
  };
  std::span<const real> possible(std::span<const real> logits) const;
  static bool more_probable(const Candidate& a, const Candidate& b);
  void cut_to_nucleus();

  Sampling sampling_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
  double total_ = 0;
};

/// An id from weights that sum to `total`; the last possible one for the rest that rounding may
/// leave. Draws one number.
std::int32_t draw_from(std::span<const double> weights, double total, Rng& rng);

/// One token id in [0, V) from logits [V]. Probabilities are computed in double; one number is
/// drawn from `rng`, none when greedy. -inf means never; a logit that is NaN or +inf, or all -inf:
/// Fault::numeric.
std::int32_t sample(std::span<const real> logits, const Sampling& sampling, Rng& rng);

/// Told each new token as it is chosen; returning false ends generation.
using OnToken = std::function<bool(std::int32_t token)>;

/// Positions that a cache needs for `n` tokens after a prompt of `prompt` tokens: never more than
/// block_size, however long the context.
std::int64_t positions_needed(const Sizes& sizes, std::int64_t prompt, std::int64_t n);

/// Up to `n` tokens that follow `prompt`, without the prompt.
///
/// The prompt's last block_size tokens are read; earlier ones have no effect. They go through the
/// model in one pass, and then one token per step, each seeing all before it. When block_size
/// positions are used, the cache is emptied and the last max(1, block_size / 2) tokens are read
/// again as a new prompt. `cache` is emptied first and holds positions_needed; null: FP32.
/// Throws Fault::usage for an empty prompt, an id outside the vocabulary, n < 0, bad sampling or a
/// smaller cache; Fault::numeric as `sample`.
std::vector<std::int32_t> generate(const Model& model, std::span<const std::int32_t> prompt,
                                   std::int64_t n, const Sampling& sampling, Rng& rng,
                                   const OnToken& on_token = {}, KvCache* cache = nullptr);

/// Throws Fault::usage for a prompt that is empty or not of this vocabulary.
void check_prompt(const Sizes& sizes, std::span<const std::int32_t> prompt);

}  // namespace notch::nn
