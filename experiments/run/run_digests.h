// Digests of what a finished run says of itself, in manifest.json (nn/manifest.h) beside those files: its
// configuration, what it read, where it ran, its curves, its table and its report; in a seed's folder of the
// layer study. Rows, models and checkpoints have digests of their own. A report in a folder that is no run's has
// them as well.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

#include "experiments/run/run_dir.h"

namespace notch::experiments {

/// Of every file that runs write in the directory `run` itself: for the moment when it is finished.
void keep_digests(const std::filesystem::path& run);

/// Of every file in a folder that nothing but a report has been written into.
void keep_report_digests(const std::filesystem::path& folder);

/// Writes `files` of `run` anew by `write`. Their digests go before and come after, so that a process killed in
/// between leaves a file without one, not one that is taken for damaged; those of the others stay. No digests
/// where none are kept: the run goes on. Of a run that is locked, since two that do this at once would each
/// list what the other is writing.
void write_anew(const RunDir& run, std::span<const std::string_view> files,
                const std::function<void()>& write);

/// A run that goes on changes its files.
void forget_digests(const std::filesystem::path& run);

}  // namespace notch::experiments
