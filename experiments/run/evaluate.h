// Evaluation: the numbers of one row of the table.
//
// A whole split is scored in non-overlapping windows (data/batches.h), every token but
// the first exactly once, in the same windows for every model, so that differences can be paired.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "data/tokenizer.h"
#include "data/verbs/verbs.h"
#include "experiments/run/logit_pieces.h"
#include "nn/model.h"

namespace notch::experiments {

/// How far a model is from a base model, token by token; nats.
struct Divergence {
  double kl_mean = 0;   ///< mean of KL(base || model)
  double kl_99 = 0;     ///< its 99th percentile over tokens (nearest rank)
  double same_top = 0;  ///< share of tokens whose most probable next token is the same
};

struct Evaluation {
  double loss = 0;                            ///< mean cross-entropy in nats per token
  double bits_per_byte = 0;                   ///< loss / ln 2 / bytes per token
  double perplexity = 0;                      ///< exp(loss)
  std::vector<double> window_losses{};        ///< sums of nats over each window, in order
  std::vector<std::int64_t> window_tokens{};  ///< tokens scored in each window
  std::optional<Divergence> from_base{};
};

struct EvaluationLimits {
  std::int64_t windows = 0;  ///< the first so many; 0 = all
  std::int64_t window = 0;   ///< tokens of each, up to the context; 0 = the context
};

/// Scores `tokens` with `model` in windows; against `base` if given, which must share the vocabulary and reach
/// as far. Throws Fault::numeric when a loss is not finite.
Evaluation evaluate(nn::Model& model, std::span<const std::int32_t> tokens, double bytes_per_token,
                    nn::Model* base = nullptr, const EvaluationLimits& limits = {});
/// The same, the same bits, for one of many models that are compared with a base on its text.
Evaluation evaluate(nn::Model& model, double bytes_per_token, KeptLogits& base);

/// A question of the task as tokens, and its candidates.
struct TaskQuestion {
  std::vector<std::int32_t> prompt{};
  std::vector<std::vector<std::int32_t>> labels{};
};

/// Prompts that do not fit the context before the longest of their labels are cut on the left.
/// Throws Fault::input for text that has no tokens, Fault::usage when a label leaves no room for a
/// question in the context.
std::vector<TaskQuestion> encoded_task(const data::Tokenizer& tokenizer,
                                         std::span<const data::TenseExample> examples,
                                         std::int64_t context);

/// Share of examples whose correct continuation is the most probable of the candidates (sum of
/// token log-probabilities). A prompt is read once, into a cache, before all of its labels.
double task_accuracy(nn::Model& model, const data::Tokenizer& tokenizer,
                     std::span<const data::TenseExample> examples);

}  // namespace notch::experiments
