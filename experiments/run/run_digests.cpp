#include "experiments/run/run_digests.h"

#include <algorithm>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "experiments/run/layer_study.h"
#include "experiments/run/run_dir.h"
#include "nn/manifest.h"

namespace notch::experiments {
namespace {

/// The folders of seeds that have a layer study.
std::vector<fs::path> studied(const fs::path& run) {
  std::vector<fs::path> folders = entries_of(run);
  std::erase_if(folders, [](const fs::path& folder) {
    return !RunDir::is_seed(folder.filename().string()) || !fs::exists(folder / kLayerStudy);
  });
  return folders;
}

}  // namespace

void keep_digests(const fs::path& run) {
  std::vector<std::string> files;
  for (const fs::path& file : entries_of(run)) {
    const std::string name = file.filename().string();
    if (RunDir::is_told(name) && fs::is_regular_file(file)) files.push_back(name);
  }
  for (const fs::path& seed : studied(run)) nn::write_manifest(seed, {kLayerStudy});
  nn::write_manifest(run, files);
}

void renew_digests(const fs::path& run, const std::vector<std::string>& files) {
  if (!fs::exists(run / nn::kManifestFile)) return;
  std::vector<nn::ListedFile> listed = nn::read_manifest(run);
  for (const std::string& name : files) {
    if (!fs::exists(run / name)) continue;
    const auto at = std::ranges::find(listed, name, &nn::ListedFile::name);
    nn::ListedFile& of_file = at == listed.end() ? listed.emplace_back() : *at;
    of_file = nn::listed_file(run, name);
  }
  nn::write_manifest(run, listed);
}

void forget_digests(const fs::path& run) {
  std::vector<fs::path> folders = studied(run);
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
