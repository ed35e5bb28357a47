// Parts: the directories of finished runs that one report is made of.
//
// A report needs nothing but what a run keeps: its configuration, its rows and what it told on its
// way. So it can be made again, byte for byte, and runs of one configuration (other seeds, other
// rows, on other machines) can be put together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/run/results.h"
#include "experiments/run/shard.h"

namespace notch::experiments {

struct RunPart {
  std::filesystem::path directory{};
  ExperimentConfig config{};
  Shard shard{};  ///< the part of the configuration's rows that is here
};

/// The run in a directory, with `overrides` of its configuration. Throws Fault::input where there is
/// none, Fault::io where there is no directory.
RunPart open_part(const std::filesystem::path& directory,
                  const std::vector<std::string>& overrides = {});

/// Usage error for seeds of the parts' configurations that none of the runs made or was to make, as an
/// override can name.
void require_own_seeds(const std::vector<RunPart>& parts);

/// Shards in their order, so that what follows from the order of parts is as in one run. Usage error
/// for shards of runs cut in another way; Fault::input where one is missing or there twice, by name.
void sort_shards(std::vector<RunPart>& parts);

/// The configuration of all parts: the seeds, methods, widths and rows of each, in the order of the
/// parts; sections that the first part does not use are those of a part that does. Throws
/// Fault::mismatch naming the first key that keeps two parts out of one table, or the input that
/// differs.
ExperimentConfig merged_config(const std::vector<RunPart>& parts);

/// Every row of every seed, in the order of the table. `scored_on`: scored_hash of now. Throws
/// Fault::input that names what is missing, part by part; Fault::mismatch where two parts made other
/// models of the same row, or a row was scored on another text.
std::vector<SeedResults> read_results(const std::vector<RunPart>& parts,
                                      const ExperimentConfig& config, const std::string& scored_on);

/// metrics.jsonl of all parts: of a training that several tell of, the first part's lines.
std::string merged_metrics(const std::vector<RunPart>& parts);

}  // namespace notch::experiments
