// The directory of a run: who may write into it, and where everything goes.
//
//   config.resolved.toml  inputs.json  env.json  run.lock  metrics.jsonl
//   results.{csv,jsonl,md,svg}  pairs.csv  report.html  models/<name>/  seed-<N>/{rows,ckpt}/
//   shard.json (of a part)  roofline.json (of notch bench)  seed-<N>/layers.json (of the first seed)
//   manifest.json (of a finished run, experiments/run/run_digests.h)
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/json.h"
#include "experiments/run/metrics.h"
#include "experiments/run/run_lock.h"

namespace notch::experiments {

/// What to do with the results of an earlier run in the directory.
enum class Earlier {
  refuse,   ///< Fault::usage if there are any
  resume,   ///< keep them; Fault::usage if there are none
  replace,  ///< remove what a run writes, and nothing else
};

class RunDir {
 public:
  /// Creates `path` where needed and locks it. Throws Fault::usage when another run holds it, when
  /// it has files but is not a run's directory, or as `earlier` says; Fault::io when it cannot be
  /// written.
  RunDir(std::filesystem::path path, Earlier earlier);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path model(std::string_view name) const;
  std::filesystem::path checkpoints(std::int64_t seed) const;
  const Metrics& metrics() const { return metrics_; }

  bool resumes() const { return earlier_ == Earlier::resume; }

  /// Writes config.resolved.toml, which makes the directory a run's. experiments/run/resume.h calls it,
  /// and compares it first with one that is there.
  void write_config(const std::string& toml) const;
  std::filesystem::path config_file() const;
  /// inputs.json: the hashes of what the run read. Null where a build wrote none.
  void write_inputs(const Json& hashes) const;
  Json inputs() const;
  void write_env(const Json& environment) const;

  /// Whether it is the name of a file in which a run tells of itself.
  static bool is_told(std::string_view name);
  /// Whether runs name the folder of a seed so ("seed-7"), or a model ("rtn-int4-seed7").
  static bool is_seed(std::string_view name);
  static bool is_model(std::string_view name);
  /// Whether `file` lies where a run in the directory `run` writes.
  static bool replaces(const std::filesystem::path& run, const std::filesystem::path& file);

 private:
  std::filesystem::path path_;
  Earlier earlier_;
  std::unique_ptr<RunLock> lock_;
  Metrics metrics_;
};

// ---- where things lie in the directory of a run ----

inline constexpr const char *kModelsFolder = "models", *kRowsFolder = "rows",
                            *kCheckpointsFolder = "ckpt";
inline constexpr const char *kRowExtension = ".json", *kSensitivityExtension = ".sensitivity";

/// "seed-7".
std::string seed_name(std::int64_t seed);
/// "seed-7/fp32": a training, as metrics.jsonl calls it.
std::string training_name(std::int64_t seed, std::string_view phase);
/// "rtn-int4-seed7": the model of a row of "seed-7".
std::string model_name(std::string_view row, std::string_view seed);

std::filesystem::path rows_folder(const std::filesystem::path& run, std::int64_t seed);
std::filesystem::path row_file(const std::filesystem::path& run, std::int64_t seed,
                               std::string_view row);
std::filesystem::path checkpoints_folder(const std::filesystem::path& run, std::int64_t seed);
std::filesystem::path model_folder(const std::filesystem::path& run, std::int64_t seed,
                                   std::string_view row);

/// What a report of a run is written as.
inline constexpr std::array<std::string_view, 6> kReportFiles{
    "results.csv", "results.jsonl", "results.md", "results.svg", "pairs.csv", "report.html"};

/// What lies in a directory, in the order of names; nothing where it cannot be read.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory);

}  // namespace notch::experiments
