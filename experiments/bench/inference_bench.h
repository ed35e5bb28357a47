// Prompt and decoding speed of models, beside the roofs of the machine they ran on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/show/roofline.h"
#include "experiments/show/table.h"
#include "quant/serve/kv_cache.h"
#include "quant/serve/served_layers.h"

namespace notch::experiments {

struct InferenceOptions {
  std::vector<std::int64_t> batches{1, 4, 8};
  std::int64_t prompt = 256;  ///< tokens
  std::int64_t decode = 16;   ///< tokens per round, after the prompt
  int rounds = 5;             ///< interleaved: every model in each
  quant::KvKind kv = quant::KvKind::fp32;
};

/// A model to measure. The first one is what the others are compared with.
struct InferenceSubject {
  std::string name{};
  quant::RunnableModel model{};
};

/// A shape with random weights, S (6 layers of 384 channels, a byte vocabulary) or M (12 of 768,
/// GPT-2's): fp32, and packed in the usual ways. Speed does not depend on the weights. `context`
/// stands in for the shape's own.
std::vector<InferenceSubject> shape_subjects(const std::string& shape,
                                             std::optional<std::int64_t> context = {});

/// Dots: per model and batch a prompt and decoding. A pass is all sequences; its seconds are the best
/// of all rounds, its operations 2 per weight and token and 4 per key and channel, its bytes the
/// weights once, and the cache.
Roofline bench_inference(std::vector<InferenceSubject>& subjects, const InferenceOptions& options);

Table inference_table(const Roofline& bench);

}  // namespace notch::experiments
