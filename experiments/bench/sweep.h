// How cost grows with context and batch: prompts, decoding, keys and values, and training memory,
// each beside what its bytes and operations predict.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/bench/inference_bench.h"
#include "experiments/show/plot.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// Tokens after each prompt, of which the fastest counts.
inline constexpr std::int64_t kSweepDecoded = 4;

struct SweepOptions {
  std::vector<std::int64_t> contexts{256, 512, 1024, 2048, 4096, 8192};
  std::vector<std::int64_t> batches{1, 4, 16, 64};
  quant::KvKind kv = quant::KvKind::fp32;
  double memory = 0;  ///< bytes that a cell may need; what needs more is left out
};

/// One model at one context and batch. Seconds are of a whole pass of all sequences.
struct SweepCell {
  std::string name{};
  std::int64_t context = 0, batch = 0;
  double prompt_seconds = 0, prompt_predicted = 0;
  double decode_seconds = 0, decode_predicted = 0;  ///< of one token, `context` positions held
  double kv_bytes = 0, kv_predicted = 0;
};

/// A training step of that many tokens: the growth of this process, and memory_report.h's formula.
struct TrainingCell {
  std::int64_t context = 0, batch = 0;
  double bytes = 0, predicted = 0;
};

struct Sweep {
  std::vector<SweepCell> cells{};
  std::vector<TrainingCell> training{};
  std::vector<std::string> left_out{};  ///< "context 8192, batch 64: needs 12.9 GB"
};

/// Subjects in each cell that fits, one after the other. Predicted seconds are those of the roofs
/// (roofline.h): operations at the peak or bytes at the bandwidth of that working set, the longer.
void sweep_inference(Sweep& sweep, std::vector<InferenceSubject>& subjects,
                     const SweepOptions& options);

/// fp32 steps of shape S or M (training_bench.h) with that context and batch.
void sweep_training(Sweep& sweep, const std::string& shape, const SweepOptions& options);

/// For people.
Table sweep_table(const Sweep& sweep);
Table training_memory_table(const Sweep& sweep);
/// For programs: one row per figure, seconds and bytes.
Table sweep_records(const Sweep& sweep);

/// Milliseconds per token of a pass over the context, batch 1 and the largest: marks are measured,
/// lines predicted.
Plot sweep_plot(const Sweep& sweep);

}  // namespace notch::experiments
