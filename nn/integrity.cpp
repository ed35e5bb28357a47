#include "nn/integrity.h"

#include <algorithm>
#include <functional>
#include <system_error>

#include "autograd/base/json.h"
#include "autograd/kernels/sha256.h"
#include "nn/manifest.h"
#include "nn/model_dir.h"

namespace notch::nn {
namespace {

constexpr const char* kOnPurpose =
    "undo the change or get the file again; if it was made on purpose, remove manifest.json, or "
    "give --no-verify to a command that has it";

bool is_whole_json(const fs::path& file) {
  if (file.extension() != ".json") return false;
  try {
    // As config.json is read: Infinity, too.
    Json::parse(read_file(file), file.string(), NonFinite::allowed);
    return true;
  } catch (const Error&) {
    return false;
  }
}

Digest listed(const fs::path& dir, const ListedFile& file) {
  const fs::path path = dir / file.name;
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (!error && size != file.bytes && is_whole_json(path) &&
      kernels::sha256_file(path) != file.sha256) {
    return Digest::rewritten;
  }
  check_listed(dir, file);
  return Digest::holds;
}

/// What `check` says about `file`, or the error that it throws.
FileState state_of(std::string file, const std::function<Digest()>& check) {
  FileState state{.file = std::move(file)};
  try {
    state.digest = check();
  } catch (const Error& e) {
    state.damage = e;
  }
  return state;
}

}  // namespace

void seal_model(const fs::path& dir) {
  std::vector<std::string> files;
  std::error_code failed;
  const fs::directory_iterator entries(dir, failed);
  if (failed) throw Error({.fault = Fault::io, .where = dir.string(), .what = failed.message()});
  for (const fs::directory_entry& entry : entries) {
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
    return Digest::holds;
  });
  if (opened.damage) {
    // No digest was looked at: neither of kOnPurpose's ways out would open it.
    ErrorParts parts = opened.damage->parts();
    if (parts.hint.empty()) parts.hint = "get all files of the model again";
    opened.damage = Error(std::move(parts));
    states.push_back(std::move(opened));
  }
  for (const SafetensorsFile& file : weights) {
    ours = ours || !file.digest().empty();
    states.push_back(state_of(file.path().filename().string(), [&] { return file.verify(); }));
  }
  std::error_code error;
  // Who copies the files that a model needs may leave it behind.
  if (!ours || !fs::exists(dir / kManifestFile, error)) return states;
  std::vector<ListedFile> files;
  states.push_back(state_of(std::string(kManifestFile), [&] {
    files = read_manifest(dir);
    return Digest::holds;
  }));
  for (const ListedFile& file : files) {
    states.push_back(state_of(file.name, [&] { return listed(dir, file); }));
  }
  return states;
}

bool is_intact(const fs::path& dir) {
  return std::ranges::none_of(check_model(dir), [](const FileState& file) {
    return file.damage || file.digest == Digest::rewritten;
  });
}

std::vector<std::string> require_intact(const fs::path& dir) {
  std::vector<std::string> rewritten;
  for (const FileState& state : check_model(dir)) {
    if (state.digest == Digest::rewritten) rewritten.push_back(state.file);
    if (!state.damage) continue;
    ErrorParts parts = state.damage->parts();
    const bool read = parts.fault == Fault::input || parts.fault == Fault::mismatch;
    if (parts.hint.empty() && read) parts.hint = kOnPurpose;
    throw Error(std::move(parts));
  }
  return rewritten;
}

}  // namespace notch::nn
