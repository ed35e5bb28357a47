// TrainingBench: what a training step costs, recipe against recipe against the matrix products
// alone.
//
// On a shared machine times drift, so everything that is compared is interleaved: a round runs
// some steps of every recipe and then the products, and ratios are formed inside a round. A round's
// time is its fastest step; the result is the median over rounds.
//
// experiments/bench/ measures speed and memory.
// May include: experiments/run, experiments/train, experiments/config, experiments/show,
// experiments/machine, quant, optim, nn, data, autograd.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/run/step_split.h"
#include "nn/model.h"

namespace notch::experiments {

inline constexpr std::uint64_t kBenchSeed = 1337;  ///< of weights and batches

/// What is trained: a configuration, and tokens for it.
struct BenchSubject {
  std::string name{};  ///< of the shape, or the configuration's
  ExperimentConfig config{};
  int vocab_size = 0;
  std::vector<std::int32_t> tokens{};
  Origins origins{};  ///< of the configuration's values
};

/// A shape of RESULTS.md's table by its letter, on random tokens: N (nanoGPT's CPU recipe), T, S,
/// M (GPT-2 124M); with biases, 4 bits where a recipe asks for bits. Throws
/// Fault::usage for other names and for overrides that do not fit.
BenchSubject bench_shape(std::string_view name, const std::vector<std::string>& overrides);
bool is_bench_shape(std::string_view name);

/// Whether an op does the products that a row of the floor is of, whatever kernel it does them with.
bool multiplies(std::string_view op, std::string_view row);

struct BenchOptions {
  std::vector<std::string> recipes{};  ///< fp32, or names of quant::methods() that train
  int rounds = 5;
  int steps = 0;  ///< of every recipe in a round; 0: about half a second's worth
};

struct BenchedRecipe {
  std::string name{};        ///< "fp32", "qat-ste-int4"
  std::vector<double> ms{};  ///< per step, one per round
  StepSplit split{};         ///< of the fastest step of all, with the floors of its ops
  double peak_bytes = 0;     ///< of a process that trains only this; 0: not known
  double allocations = -1;   ///< of the heap per step; < 0: not counted
  double median_ms() const;
  double min_ms() const;
};

struct TrainingBench {
  std::string name{};
  nn::Sizes model{};
  std::int64_t batch_size = 0, grad_accum = 1, parameters = 0;
  std::int64_t matrix_weights = 0;  ///< of the parameters, those that multiply each token
  double flops = 0;                 ///< step_flops of every batch of a step
  std::vector<double> floor_ms{};   ///< a step's products alone, one per round
  std::vector<BenchedRecipe> recipes{};
  std::int64_t tokens() const { return grad_accum * batch_size * model.block_size; }
  /// Median over rounds of recipe `i`'s time over that of the first.
  double ratio(std::size_t i) const;
  /// Median over rounds of the products' time over that of recipe `i`.
  double floor_share(std::size_t i) const;
};

TrainingBench bench_training(const BenchSubject& subject, const BenchOptions& options);

/// For people: what a shape is, and the formulas behind the columns.
std::vector<std::string> describe(const TrainingBench& bench);
/// One row per recipe.
Table bench_table(const std::vector<TrainingBench>& benches);
/// One row per op of every recipe.
Table bench_split_table(const std::vector<TrainingBench>& benches);

}  // namespace notch::experiments
