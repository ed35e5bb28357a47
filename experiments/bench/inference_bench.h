// Prompt and decoding speed of models, beside the roofs of the machine they ran on.
#pragma once

#include <string>
#include <vector>

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
/// GPT-2's): fp32, and packed in the usual ways. Speed does not depend on the weights.
std::vector<InferenceSubject> shape_subjects(const std::string& shape);

struct InferenceRow {
  std::string name{};
  std::string phase{};      ///< "prompt" or "decode"
  std::int64_t batch = 1;   ///< sequences
  double tokens = 0;        ///< per pass, all sequences
  double seconds = 0;       ///< per pass, the best of all rounds
  double operations = 0;    ///< per pass: 2 per weight and token, 4 per key and channel
  double bytes = 0;         ///< per pass: weights once, and the cache
  double roof_seconds = 0;  ///< of a pass that only reads these bytes, the best of all rounds
  double tokens_per_second() const { return tokens / seconds; }
  double intensity() const { return operations / bytes; }
  /// 8-bit products per weight and token, which are under the roof of integer products; 0: floats.
  int products = 0;
};

struct InferenceBench {
  double sgemm = 0, integer = 0;  ///< operations per second
  std::vector<InferenceRow> rows{};
  /// Operations per second that arithmetic allows a row: sgemm's, or those of integer products over
  /// how many an operation takes.
  double peak(const InferenceRow& row) const {
    return row.products == 0 ? sgemm : integer / row.products;
  }
  /// Share of min(peak, bandwidth · intensity) that a row reaches.
  double share(const InferenceRow& row) const;
};

InferenceBench bench_inference(std::vector<InferenceSubject>& subjects,
                               const InferenceOptions& options);

Table inference_table(const InferenceBench& bench);
/// Operations per second over operations per byte, both logarithmic, under the measured roofs.
std::string roofline_svg(const InferenceBench& bench);

}  // namespace notch::experiments
