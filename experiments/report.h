// Report: the table of a run, its verdict in words, and the files that hold them.
#pragma once

#include <string>
#include <vector>

#include "experiments/results.h"
#include "experiments/setup.h"
#include "experiments/table.h"

namespace notch::experiments {

/// One line per row, mean and standard deviation over seeds.
Table results_table(const std::vector<SeedResults>& seeds);

/// What the table shows, width by width, in sentences: which row is best, by how much, whether that
/// is resolvable, and what the control says about the extra training.
std::string verdict(const std::vector<SeedResults>& seeds);

/// The line above every table: corpus, context, grid, seeds, calibration; and how to read the
/// columns.
std::string table_header(const ExperimentConfig& config, const Data& data,
                         const std::vector<SeedResults>& seeds);
std::string column_notes();

/// results.csv, results.jsonl, results.md, results.svg and report.html in `dir`; the page shows its
/// metrics.jsonl and env.json as well, where they are.
void write_results(const std::filesystem::path& dir, const ExperimentConfig& config,
                   const Data& data, const std::vector<SeedResults>& seeds);

}  // namespace notch::experiments
