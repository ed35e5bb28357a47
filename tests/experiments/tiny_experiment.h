// A whole experiment, so small that it takes a moment.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "experiments/report/report.h"
#include "experiments/run/compare.h"
#include "experiments/run/resume.h"
#include "quant/methods/methods.h"
#include "tests/catch.h"

namespace notch::test {

using namespace experiments;

inline ExperimentConfig tiny_experiment() {
  ExperimentConfig c;
  c.name = "tiny";
  c.seeds = {1, 2};
  c.data.sentences = 300;
  c.data.task_examples = 12;
  c.model = {.n_layer = 1, .n_head = 2, .n_embd = 16, .block_size = 32, .bias = true};
  c.train.steps = 200;
  c.train.batch_size = 4;
  c.train.lr = 1e-2;
  c.train.warmup = 2;
  c.train.eval_every = 0;
  c.train.checkpoint_every = 0;
  c.quant.bits = {8, 4, 2};
  c.quant.methods.clear();
  for (const quant::Method* m : quant::methods())  // those that are of one grid alone are left out
    if (!m->grid) c.quant.methods.emplace_back(m->name);
  c.calib.windows = 8;
  c.qat.steps = 4;
  return c;
}

/// Runs all seeds of a configuration in a directory, as `notch run` does.
inline std::vector<SeedResults> run_all(const ExperimentConfig& config, const Data& data,
                                        const std::filesystem::path& path, Earlier earlier) {
  validate(config);
  check_rows(config, data.source.tokenizer.vocab_size());
  const RunDir dir(path, earlier);
  begin_run(dir, config, data);
  Progress progress({.quiet = true});
  std::vector<SeedResults> seeds;
  for (const std::int64_t seed : config.seeds) {
    std::optional<SeedResults> results = compare({config, data, dir, progress}, seed);
    REQUIRE(results);
    seeds.push_back(std::move(*results));
  }
  Report(config, data, seeds).write(path);
  return seeds;
}

}  // namespace notch::test
