// Perplexity as llama.cpp's llama-perplexity counts it (tools/perplexity/perplexity.cpp), so that a
// number of ours can be put beside one of its users'.
//
// The tokens are cut into chunks of ctx, the rest is dropped; every chunk is a text of its own. With a
// token that is put before texts, that one stands in the place of a chunk's first. Scored are the
// predictions of positions ctx/2 … ctx - 2 of each chunk, that is ctx - ctx/2 - 1 tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "nn/model.h"

namespace notch::experiments {

/// A mean with its standard error, sqrt((E[x²] - E[x]²) / (n - 1)), or what follows from one.
struct Estimate {
  double value = 0, error = 0;
};

/// Ordered values at ranks f·(n - 1), between two of them linearly.
struct Quantiles {
  double low = 0, q1 = 0, q5 = 0, q10 = 0, q25 = 0, median = 0, q75 = 0, q90 = 0, q95 = 0, q99 = 0,
         q999 = 0, high = 0;
};

/// What llama-perplexity --kl-divergence prints; p is the base model's distribution, q the model's, t
/// the token that follows.
struct BaseComparison {
  Estimate base_perplexity{};
  double correlation = 0;  ///< of ln q(t) and ln p(t)
  Estimate log_ratio{};    ///< mean of ln p(t)/q(t): ln PPL(q)/PPL(p)
  Estimate kl{};           ///< KL(p || q)
  Quantiles kl_quantiles{};
  Estimate change{};  ///< Δp = q(t) - p(t)
  Quantiles change_quantiles{};
  Estimate rms_change{};  ///< √(mean Δp²)
  Estimate same_top{};    ///< share of tokens whose most probable one is the same
};

struct LlamaPerplexity {
  std::int64_t chunks = 0, scored = 0;
  Estimate perplexity{};  ///< exp(mean nll), times the error of the mean
  std::optional<BaseComparison> from_base{};
};

struct LlamaProtocol {
  std::int64_t ctx = 512;
  std::optional<std::int32_t> before{};   ///< the token in place of each chunk's first
  std::int64_t chunks = 0;                ///< the first so many; 0: all
};

/// Throws Fault::input when the text has fewer than 2·ctx tokens, Fault::usage when ctx is beyond the
/// context of a model or below 4, Fault::numeric when a loss is not finite. The base must share the vocabulary.
LlamaPerplexity llama_perplexity(nn::Model& model, std::span<const std::int32_t> tokens,
                                 const LlamaProtocol& protocol, nn::Model* base = nullptr);

}  // namespace notch::experiments
