#include "experiments/run/run_dir.h"

#include <algorithm>
#include <system_error>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "experiments/config/config.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/shard.h"
#include "experiments/show/roofline.h"
#include "nn/manifest.h"

namespace notch::experiments {

namespace {

constexpr const char* kInputsFile = "inputs.json";
constexpr std::string_view kSeedPrefix = "seed-";

bool is_written_by_runs(std::string_view name) {
  return RunDir::is_told(name) || name == kModelsFolder || name == nn::kManifestFile ||
         RunDir::is_seed(name);
}

bool is_temporary_of_runs(std::string_view name) {
  std::string base;
  return is_temporary_name(name, base) && is_written_by_runs(base);
}

void remove_entry(const fs::path& entry) {
  std::error_code error;
  fs::remove_all(entry, error);
  if (!error) return;
  throw Error(
      {.fault = Fault::io, .where = entry.string(), .what = "cannot remove: " + error.message()});
}

/// Of a folder that others may have put something into: what runs write there, and the folder if
/// that leaves it empty.
void remove_ours(const fs::path& folder, const std::function<bool(std::string_view)>& ours) {
  std::error_code error;
  if (fs::is_symlink(folder, error) || !fs::is_directory(folder, error)) {
    return remove_entry(folder);
  }
  for (const fs::path& entry : entries_of(folder)) {
    const std::string name = entry.filename().string();
    std::string base;
    if (ours(is_temporary_name(name, base) ? base : name)) remove_entry(entry);
  }
  fs::remove(folder, error);
}

void remove_results(std::vector<fs::path> entries) {
  // The configuration goes last: until then the directory is known to be a run's.
  std::stable_partition(entries.begin(), entries.end(),
                        [](const fs::path& entry) { return entry.filename() != kResolvedConfig; });
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    if (!is_written_by_runs(name)) continue;
    if (RunDir::is_seed(name)) {
      remove_ours(entry, [](std::string_view n) {
        return n == kRowsFolder || n == kCheckpointsFolder || n == kLayerStudy ||
               n == nn::kManifestFile;
      });
    } else if (name == kModelsFolder) {
      remove_ours(entry, RunDir::is_model);
    } else {
      remove_entry(entry);
    }
  }
}

}  // namespace

bool RunDir::is_told(std::string_view name) {
  static constexpr std::string_view kNames[] = {kResolvedConfig, kInputsFile, "env.json",
                                                kMetricsFile,    kRoofline,   kShardFile};
  return std::ranges::find(kNames, name) != std::end(kNames) ||
         std::ranges::find(kReportFiles, name) != kReportFiles.end();
}

bool RunDir::is_seed(std::string_view name) {
  const std::string_view number = name.substr(std::min(name.size(), kSeedPrefix.size()));
  return name.starts_with(kSeedPrefix) && !number.empty() &&
         number.find_first_not_of("0123456789") == number.npos;
}

bool RunDir::is_model(std::string_view name) {
  const std::size_t seed = name.rfind("-seed");
  if (seed == name.npos || seed == 0) return false;
  return is_seed(str(kSeedPrefix, name.substr(seed + std::string_view("-seed").size())));
}

bool RunDir::replaces(const fs::path& run, const fs::path& file) {
  if (run.empty() || file.empty()) return false;
  std::error_code error;
  const fs::path inside = fs::weakly_canonical(fs::absolute(file), error)
                              .lexically_relative(fs::weakly_canonical(fs::absolute(run), error));
  return !error && !inside.empty() && is_written_by_runs(inside.begin()->string());
}

RunDir::RunDir(fs::path path, Earlier earlier)
    : path_(std::move(path)), earlier_(earlier), metrics_(path_ / kMetricsFile) {
  const auto is_left = [](const fs::path& entry) {
    const std::string name = entry.filename().string();
    return name == kLockFile || is_temporary_of_runs(name);
  };
  bool has_run = fs::exists(path_ / kResolvedConfig);
  if (earlier == Earlier::resume && !has_run) {
    const std::vector<fs::path> entries = entries_of(path_);
    if (entries.empty() || !std::ranges::all_of(entries, is_left)) {
      throw Error({.where = path_.string(),
                   .what = "there is no run to resume",
                   .found = str("no ", kResolvedConfig),
                   .hint = "start it without --resume"});
    }
    earlier_ = earlier = Earlier::refuse;  // killed before it had begun
  }
  make_directories(path_);
  lock_ = std::make_unique<RunLock>(path_);
  has_run = fs::exists(path_ / kResolvedConfig);  // by now: another may have run meanwhile
  const std::vector<fs::path> entries = entries_of(path_);
  if (!has_run && !std::ranges::all_of(entries, is_left)) {
    throw Error({.where = path_.string(),
                 .what = "the directory has files of something else",
                 .hint = "choose an empty or a new directory with --out"});
  }
  if (earlier == Earlier::refuse && has_run) {
    throw Error(
        {.where = path_.string(),
         .what = "the directory holds an earlier run",
         .hint = "--resume continues it, --force starts over, --out chooses another directory"});
  }
  if (earlier == Earlier::replace) remove_results(entries);
  remove_stale_temporaries(path_, is_written_by_runs);
}

fs::path RunDir::model(std::string_view name) const { return path_ / kModelsFolder / name; }

fs::path RunDir::checkpoints(std::int64_t seed) const { return checkpoints_folder(path_, seed); }

void RunDir::write_config(const std::string& toml) const {
  write_file(config_file(),
             "# Every value of this run; `notch run` on this file repeats it.\n\n" + toml);
}

fs::path RunDir::config_file() const { return path_ / kResolvedConfig; }

void RunDir::write_inputs(const Json& hashes) const {
  write_file(path_ / kInputsFile, hashes.dump(2) + "\n");
}

Json RunDir::inputs() const {
  const fs::path file = path_ / kInputsFile;
  return fs::exists(file) ? Json::parse(read_file(file), file.string()) : Json();
}

void RunDir::write_env(const Json& environment) const {
  write_file(path_ / "env.json", environment.dump(2) + "\n");
}

std::string seed_name(std::int64_t seed) { return str(kSeedPrefix, seed); }

std::string training_name(std::int64_t seed, std::string_view phase) {
  return str(seed_name(seed), '/', phase);
}

std::string model_name(std::string_view row, std::string_view seed) {
  check(RunDir::is_seed(seed), "model", seed, " is not the name of a seed's folder");
  return str(row, "-seed", seed.substr(kSeedPrefix.size()));
}

fs::path rows_folder(const fs::path& run, std::int64_t seed) {
  return run / seed_name(seed) / kRowsFolder;
}

fs::path row_file(const fs::path& run, std::int64_t seed, std::string_view row) {
  return rows_folder(run, seed) / str(row, kRowExtension);
}

fs::path checkpoints_folder(const fs::path& run, std::int64_t seed) {
  return run / seed_name(seed) / kCheckpointsFolder;
}

fs::path model_folder(const fs::path& run, std::int64_t seed, std::string_view row) {
  return run / kModelsFolder / model_name(row, seed_name(seed));
}

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  std::ranges::sort(entries);
  return entries;
}

}  // namespace notch::experiments
