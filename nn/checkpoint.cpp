#include "nn/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>
#include <system_error>

#include "autograd/base/temporaries.h"
#include "nn/manifest.h"
#include "nn/safetensors.h"

namespace notch::nn {
namespace {

constexpr std::string_view kState = "state.json";
constexpr std::string_view kStep = "step-";
constexpr std::uint64_t kMaxStateBytes = std::uint64_t{1} << 30;

std::string directory_name(std::int64_t step) {
  const std::string digits = std::to_string(step);
  const std::size_t zeros = digits.size() < 6 ? 6 - digits.size() : 0;
  return std::string(kStep) + std::string(zeros, '0') + digits;
}

/// The step that a directory of that name is of.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStep)) return std::nullopt;
  std::int64_t step = 0;
  const auto parsed = std::from_chars(name.data() + kStep.size(), name.data() + name.size(), step);
  if (parsed.ec != std::errc() || step < 0 || directory_name(step) != name) return std::nullopt;
  return step;
}

struct Found {
  std::int64_t step = 0;
  fs::path path{};
};

// The directories below root that are named as checkpoints are, newest first.
std::vector<Found> list_checkpoints(const fs::path& root) {
  std::vector<Found> found;
  std::error_code error, ignored;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const std::optional<std::int64_t> step = step_of(name);
    if (!step || !at->is_directory(ignored)) continue;
    found.push_back({*step, at->path()});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(
        {.fault = Fault::io, .where = root.string(), .what = "cannot list: " + error.message()});
  }
  std::ranges::sort(found, std::ranges::greater(), &Found::step);
  return found;
}

// Renamed before it is removed: a removal that is interrupted leaves a stale temporary and not
// half a checkpoint.
void remove_checkpoint(const fs::path& path) {
  const fs::path aside = temporary_of(path, ::getpid());
  std::error_code error;
  fs::rename(path, aside, error);
  if (!error) fs::remove_all(aside, error);
}

void check_parts(const std::vector<CheckpointPart>& parts) {
  std::set<std::string_view> files;
  for (const CheckpointPart& part : parts) {
    check(is_plain_name(part.file) && part.file.ends_with(".safetensors"), "checkpoint",
          "a part's file is named ", json_quote(part.file),
          "; expected a plain name that ends in .safetensors");
    check(files.insert(part.file).second, "checkpoint", "two parts are named ", part.file);
    for (const CheckpointTensor& t : part.tensors) {
      check(static_cast<std::int64_t>(t.values.size()) == t.shape.size(), "checkpoint", part.file,
            ": ", t.name, " is ", t.shape, " but has ", t.values.size(), " values");
    }
  }
}

// Names of the files whose size and hash the manifest confirms.
std::set<std::string> verify(const fs::path& checkpoint) {
  std::set<std::string> verified;
  for (const ListedFile& file : read_manifest(checkpoint)) {
    check_listed(checkpoint, file);
    verified.insert(file.name);
  }
  if (!verified.contains(std::string(kState))) {
    refuse_file(checkpoint / kManifestFile, kState, "not listed", "", std::string(kState));
  }
  return verified;
}

void check_tensors(const SafetensorsFile& file, const CheckpointPart& part) {
  for (const CheckpointTensor& t : part.tensors) {
    const TensorEntry* entry = file.find(t.name);
    const FileShape shape = file_shape(t.shape);
    if (!entry) refuse_file(file.path(), t.name, "missing tensor", "", to_text(shape));
    if (entry->shape != shape) {
      refuse_file(file.path(), t.name, "another shape", to_text(entry->shape), to_text(shape));
    }
    if (entry->dtype != kRealType) {
      refuse_file(file.path(), t.name, "another type", std::string(name(entry->dtype)),
                  std::string(name(kRealType)));
    }
  }
  if (file.entries().size() == part.tensors.size()) return;
  std::set<std::string_view> wanted;
  for (const CheckpointTensor& t : part.tensors) wanted.insert(t.name);
  for (const TensorEntry& entry : file.entries()) {
    if (!wanted.contains(entry.name)) {
      refuse_file(file.path(), entry.name, "extra tensor", to_text(entry.shape), "nothing");
    }
  }
}

}  // namespace

CheckpointPart checkpoint_part(std::string file, const ParamStore& params) {
  CheckpointPart part{.file = std::move(file)};
  for (const Param& p : params.params()) {
    part.tensors.push_back({p.name, p.value.shape, p.value.flat()});
  }
  return part;
}

void remove_stale_checkpoints(const fs::path& root) {
  remove_stale_temporaries(root, [](std::string_view name) { return step_of(name).has_value(); });
}

fs::path save_checkpoint(const fs::path& root, std::int64_t step,
                         const std::vector<CheckpointPart>& parts, const Json& state,
                         int keep_last) {
  check(step >= 0, "checkpoint", "step is ", step, "; expected at least 0");
  check(keep_last >= 1, "checkpoint", "keep_last is ", keep_last, "; expected at least 1");
  check_parts(parts);
  make_directories(root);
  remove_stale_checkpoints(root);

  const fs::path path = root / directory_name(step);
  DirectoryWriter writer(path);
  const fs::path& dir = writer.temporary();
  std::vector<std::string> files;
  for (const CheckpointPart& part : parts) {
    std::vector<TensorSource> tensors;
    for (const CheckpointTensor& t : part.tensors) {
      tensors.push_back(real_tensor(t.name, file_shape(t.shape), t.values, kRealType));
    }
    write_safetensors(dir / part.file, std::move(tensors));
    files.push_back(part.file);
  }
  write_file(dir / kState, state.dump(2) + "\n");
  files.emplace_back(kState);
  write_manifest(dir, files);
  writer.commit();

  keep_checkpoints(root, step, keep_last);
  return path;
}

void keep_checkpoints(const fs::path& root, std::int64_t step, int keep_last) {
  check(keep_last >= 1, "checkpoint", "keep_last = ", keep_last,
        "; the one that was written stays");
  int kept = 0;
  for (const Found& found : list_checkpoints(root)) {
    if (found.step > step || ++kept > keep_last) remove_checkpoint(found.path);
  }
}

LatestCheckpoint latest_checkpoint(const fs::path& root) {
  LatestCheckpoint latest;
  for (const Found& found : list_checkpoints(root)) {
    try {
      verify(found.path);
      latest.path = found.path;
      latest.step = found.step;
      break;
    } catch (const Error& e) {
      latest.skipped.push_back({found.path, e.what()});
    }
  }
  return latest;
}

Json load_checkpoint(const fs::path& checkpoint, const std::vector<CheckpointPart>& parts) {
  check_parts(parts);
  const std::set<std::string> verified = verify(checkpoint);
  std::vector<SafetensorsFile> files;
  for (const CheckpointPart& part : parts) {
    if (!verified.contains(part.file)) {
      refuse_file(checkpoint / kManifestFile, part.file, "no such file in this checkpoint", "",
                  part.file);
    }
    files.push_back(SafetensorsFile::open(checkpoint / part.file));
    check_tensors(files.back(), part);
  }
  const fs::path state_path = checkpoint / kState;
  Json state = Json::parse(read_file(state_path, kMaxStateBytes), state_path.string());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (const CheckpointTensor& t : parts[i].tensors)
      files[i].read(*files[i].find(t.name), t.values);
  }
  return state;
}

}  // namespace notch::nn
