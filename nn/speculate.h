// Speculative decoding: a small model proposes, the large one judges several tokens in one pass.
//
// Leviathan, Kalman, Matias 2023 (arXiv:2211.17192), algorithm 1: a proposal d drawn from q is kept
// with probability min(1, p(d)/q(d)); at the first refusal the token is drawn from max(0, p - q),
// normalised; if all are kept, one more comes from p. The tokens have exactly the distribution of
// the large model alone, whatever the small one is. p and q are the distributions after
// temperature, top_k and top_p, so that holds for every Sampling; at temperature 0 the text is the
// same, with every kind of cache. "The large model alone" has the window of both: generate with the
// smaller block_size of the two. Where the draft's is smaller and the text outgrows it, the large
// model sees less of the text than it would alone.
//
// How many tokens are proposed follows from how many were accepted lately: the number that makes
// the expected tokens per time largest, if each proposal is accepted alike (section 3.3 there).
// Where none pays, none is made, and one is tried now and then. Only past tokens decide, no clock:
// the same seed gives the same text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/generate.h"

namespace notch::nn {

struct Draft {
  const Model& model;
  KvCache& cache;           ///< holds positions_needed, as the model's
  std::int64_t tokens = 7;  ///< proposed per pass of the large model, at most: 1 to 7
  /// What a proposal costs, drafted and judged, over a pass of the large model. At 0 nothing is
  /// saved by proposing fewer.
  double cost = 0;
};

/// The n of 0 … most that makes (1 + α + … + αⁿ) / (1 + n · cost) largest: tokens per pass of n
/// proposals that are accepted with probability α each, over its time (Leviathan et al., theorem
/// 3.8). The largest such n.
std::int64_t best_draft_length(double acceptance, double cost, std::int64_t most);

struct Speculation {
  std::vector<std::int32_t> tokens{};
  std::int64_t proposed = 0, accepted = 0;
  std::int64_t passes = 0;  ///< of the large model
};

/// As generate, by speculation. The window moves as generate's, with the smaller block_size of the
/// two models; with it both caches hold positions_needed (generate.h). They are emptied first. Throws
/// Fault::usage as generate, and when the models' vocabularies differ.
Speculation speculate(const Model& model, KvCache& cache, const Draft& draft,
                      std::span<const std::int32_t> prompt, std::int64_t n,
                      const Sampling& sampling, Rng& rng, const OnToken& on_token = {});

}  // namespace notch::nn
