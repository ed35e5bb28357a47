#include "nn/integrity.h"

#include <algorithm>
#include <functional>

#include "nn/manifest.h"
#include "nn/model_dir.h"

namespace notch::nn {
namespace {

constexpr const char* kOnPurpose =
    "undo the change or get the file again; if it was made on purpose, remove manifest.json, or "
    "give --no-verify";

/// What `check` says about `file`: false for no digest, or the error that it throws.
FileState state_of(std::string file, const std::function<bool()>& check) {
  FileState state{.file = std::move(file)};
  try {
    state.has_digest = check();
  } catch (const Error& e) {
    state.damage = e;
  }
  return state;
}

}  // namespace

void seal_model(const fs::path& dir) {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    const fs::path name = entry.path().filename();
    const bool listed = name.extension() != ".safetensors" && name != kManifestFile;
    if (listed && entry.is_regular_file()) files.push_back(name.string());
  }
  std::ranges::sort(files);
  write_manifest(dir, files);
}

std::vector<FileState> check_model(const fs::path& dir) {
  bool ours = false;
  std::vector<SafetensorsFile> weights;
  std::vector<FileState> states;
  FileState opened = state_of(std::string(kWeightsFile), [&] {
    weights = open_weights(dir);
    return true;
  });
  if (opened.damage) states.push_back(std::move(opened));
  for (const SafetensorsFile& file : weights) {
    ours = ours || !file.digest().empty();
    states.push_back(state_of(file.path().filename().string(), [&] { return file.verify(); }));
  }
  std::error_code error;
  // Who copies the files that a model needs may leave it behind.
  if (!ours || !fs::exists(dir / kManifestFile, error)) return states;
  std::vector<ListedFile> listed;
  states.push_back(state_of(std::string(kManifestFile), [&] {
    listed = read_manifest(dir);
    return true;
  }));
  for (const ListedFile& file : listed) {
    states.push_back(state_of(file.name, [&] {
      check_listed(dir, file);
      return true;
    }));
  }
  return states;
}

bool is_intact(const fs::path& dir) {
  return std::ranges::none_of(check_model(dir),
                              [](const FileState& file) { return file.damage.has_value(); });
}

void require_intact(const fs::path& dir) {
  for (const FileState& state : check_model(dir)) {
    if (!state.damage) continue;
    ErrorParts parts = state.damage->parts();
    if (parts.hint.empty()) parts.hint = kOnPurpose;
    throw Error(std::move(parts));
  }
}

}  // namespace notch::nn
