// manifest.json: the files of a directory with their sizes and SHA-256, for checkpoints, for what lies
// beside a model's weights, and for what a run says of itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/files.h"

namespace notch::nn {

inline constexpr std::string_view kManifestFile = "manifest.json";

struct ListedFile {
  std::string name{};
  std::uint64_t bytes = 0;
  std::string sha256{};
};

/// Whether a name is that of a file in the directory, and not a path.
bool is_plain_name(std::string_view name);

/// A file of `dir` as it is now.
ListedFile listed_file(const fs::path& dir, const std::string& name);

/// Writes manifest.json of `dir` over the `files` in it.
void write_manifest(const fs::path& dir, const std::vector<std::string>& files);
/// The same of files whose digests are known.
void write_manifest(const fs::path& dir, const std::vector<ListedFile>& files);

/// What a manifest lists. Every byte of it counts: Fault::input for unknown members.
std::vector<ListedFile> read_manifest(const fs::path& dir);

/// Throws Fault::io when `dir` does not have the file, and Fault::input when its size or hash is another or
/// it is there under a name that differs in one bit, since then the manifest's name may be damaged.
void check_listed(const fs::path& dir, const ListedFile& file);

}  // namespace notch::nn
