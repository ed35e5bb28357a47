// Report: what a run says, once computed and said the same on the screen and in every file.
//
// experiments/report/ reads the results of runs and says what they mean; it computes no model.
// May include: experiments/run, experiments/config, experiments/show, experiments/machine, quant,
// autograd/base.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/report/ranking.h"
#include "experiments/report/statistics.h"
#include "experiments/report/summary.h"
#include "experiments/run/results.h"
#include "experiments/run/setup.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// One line per row: means over seeds, the spread over seeds (+-) or a 95 % interval.
Table results_table(const Statistics& statistics);

/// Where the bits of every quantized row are, part by part; of one seed.
Table size_table(const SeedResults& seed);

/// What methods report of their rows (quant::RowFigure).
Table figures_table(const std::vector<SeedResults>& seeds);

/// The line above every table: corpus, context, grid, seeds, and calibration where a row has any;
/// and how to read the columns that the table has.
std::string table_header(const ExperimentConfig& config, const Data& data,
                         const std::vector<SeedResults>& seeds);
std::string column_notes(const Table& table, const std::vector<SeedResults>& seeds);

/// Which rows saw as many tokens as which, how long each method took, and whether builds differ.
std::string budget_notes(const ExperimentConfig& config, const std::vector<SeedResults>& seeds);

class Report {
 public:
  /// All arguments must outlive this.
  Report(const ExperimentConfig& config, const Data& data, const std::vector<SeedResults>& seeds);

  const Table& table() const { return table_; }
  const std::string& verdict() const { return verdict_; }

  /// For people at a terminal: in lines of so many characters what it comes to, or all of it.
  std::string screen(int characters) const;
  std::string wide_screen() const;

  /// kReportFiles (experiments/run/run_dir.h) in `dir`; the
  /// page shows its metrics.jsonl and env.json as well, where they are.
  void write(const std::filesystem::path& dir) const;

 private:
  const ExperimentConfig& config_;
  const std::vector<SeedResults>& seeds_;
  std::size_t questions_;  // of the task
  Statistics statistics_;
  std::vector<WidthRanking> rankings_;
  std::vector<WidthSummary> widths_;
  Table table_;
  std::string header_, verdict_;
};

}  // namespace notch::experiments
