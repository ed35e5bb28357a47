// Sizes: finished runs of models of different sizes on one text, in one report.
//
// What a run says of its methods holds for its size. Beside one another runs say which size is best
// in so many bytes, and whether what rounding costs falls with the size. Losses of different models
// are compared as they are; what rounding costs is taken against each run's own fp32 or control.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/config/config.h"
#include "experiments/report/statistics.h"
#include "experiments/report/summary.h"
#include "experiments/run/results.h"
#include "experiments/show/plot.h"
#include "experiments/show/table.h"

namespace notch::experiments {

/// A run as it was read.
struct SizedRun {
  std::string directory{};  ///< for errors
  ExperimentConfig config{};
  std::string scored_on{};    ///< scored_hash
  std::size_t questions = 0;  ///< of the task
  Json environment{};         ///< of env.json; null without one
  std::vector<SeedResults> seeds{};
};

class SizesReport {
 public:
  /// Orders the runs by their weights and names them: "97.5k weights", with the run's name where two
  /// have as many. Throws Fault::usage for fewer than two runs and for two of one size and name,
  /// Fault::mismatch for runs that were scored on other text or in windows of another length.
  explicit SizesReport(std::vector<SizedRun> runs);

  /// The rows of all runs.
  const Table& table() const { return table_; }
  std::string screen(int characters) const;
  std::string hash() const;  ///< one over those of the runs

  /// results.{csv,jsonl,md,svg} and report.html in `dir`, and as 1.toml, 2.toml, … what makes the
  /// runs again.
  void write(const std::filesystem::path& dir) const;

 private:
  struct Size {
    explicit Size(SizedRun read);
    SizedRun run;
    std::string title{};
    Statistics statistics;
    std::vector<WidthRanking> rankings;
    std::vector<WidthSummary> widths;
    const RowResult& base() const { return statistics.rows().front(); }
  };

  std::string headline() const;
  Table brief() const;
  Table runs() const;

  std::vector<std::unique_ptr<Size>> sizes_;
  Table table_{{}};
};

}  // namespace notch::experiments
