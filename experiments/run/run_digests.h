// Digests of what a finished run says of itself, in manifest.json (nn/manifest.h) beside those files: its
// configuration, what it read, where it ran, its curves, its table and its report; in a seed's folder of the
// layer study. Rows, models and checkpoints have digests of their own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace notch::experiments {

/// Of every file that runs write in the directory `run` itself: for the moment when it is finished.
void keep_digests(const std::filesystem::path& run);

/// Of those of `files` in `run` that were written anew, beside what is kept of the others. Nothing where
/// none are kept: the run goes on.
void renew_digests(const std::filesystem::path& run, const std::vector<std::string>& files);

/// A run that goes on changes its files.
void forget_digests(const std::filesystem::path& run);

}  // namespace notch::experiments
