#include "experiments/run/run_digests.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "experiments/run/layer_study.h"
#include "nn/manifest.h"

namespace notch::experiments {
namespace {

std::vector<fs::path> seed_folders(const fs::path& run) {
  std::vector<fs::path> folders = entries_of(run);
  std::erase_if(
      folders, [](const fs::path& folder) { return !RunDir::is_seed(folder.filename().string()); });
  return folders;
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> files;
  for (const fs::path& file : entries_of(folder))
    if (fs::is_regular_file(file)) files.push_back(file.filename().string());
  return files;
}

}  // namespace

void keep_report_digests(const fs::path& folder) { nn::write_manifest(folder, files_in(folder)); }

void keep_digests(const fs::path& run) {
  std::vector<std::string> files = files_in(run);
  std::erase_if(files, [](const std::string& name) { return !RunDir::is_told(name); });
  for (const fs::path& seed : seed_folders(run))
    if (fs::exists(seed / kLayerStudy)) nn::write_manifest(seed, {kLayerStudy});
  nn::write_manifest(run, files);
}

void write_anew(const RunDir& locked, std::span<const std::string_view> files,
                const std::function<void()>& write) {
  const fs::path& run = locked.path();
  if (!fs::exists(run / nn::kManifestFile)) return write();
  std::vector<nn::ListedFile> listed = nn::read_manifest(run);
  std::erase_if(listed, [&](const nn::ListedFile& file) {
    return std::ranges::find(files, file.name) != files.end();
  });
  nn::write_manifest(run, listed);
  write();
  for (const std::string_view name : files) {
    if (fs::exists(run / name)) listed.push_back(nn::listed_file(run, std::string(name)));
  }
  nn::write_manifest(run, listed);
}

void forget_digests(const fs::path& run) {
  std::vector<fs::path> folders = seed_folders(run);
  folders.push_back(run);
  for (const fs::path& folder : folders) {
    const fs::path file = folder / nn::kManifestFile;
    std::error_code error;
    fs::remove(file, error);
    if (!error) continue;
    throw Error(
        {.fault = Fault::io, .where = file.string(), .what = "cannot remove: " + error.message()});
  }
}

}  // namespace notch::experiments
