// Checkpoints: everything a run needs to go on bit for bit, in one directory per step.
//
//   <root>/step-000500/  <part>.safetensors ...   named tensors in the type of `real`, bit-exact
//                        state.json               the caller's: RNG, data cursor, schedule, ...
//                        manifest.json            size and SHA-256 of each file above
//
// A checkpoint is written aside, fsynced and renamed (DirectoryWriter), so an interrupted writer
// leaves the previous one as it was; the manifest finds what a disk or a copy damages. A part is a
// list of names and spans: the model's parameters, an optimizer's moments, a quantizer's steps.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "autograd/base/files.h"
#include "autograd/base/json.h"
#include "autograd/param.h"

namespace notch::nn {

struct CheckpointTensor {
  std::string name{};
  Shape shape{};
  std::span<real> values{};  ///< read by save_checkpoint, filled by load_checkpoint
};

/// One file of a checkpoint.
struct CheckpointPart {
  std::string file{};  ///< a plain name that ends in ".safetensors"
  std::vector<CheckpointTensor> tensors{};
};

/// The values of all parameters of a store, under their names.
CheckpointPart checkpoint_part(std::string file, const ParamStore& params);

/// Removes what a killed writer, or a killed removal, left half in root.
void remove_stale_checkpoints(const fs::path& root);

/// Writes <root>/step-<step> (root is created; a checkpoint of the same step is replaced) and
/// returns its path. Once it is in place, keep_checkpoints removes others. What is stale in root is
/// removed. Throws Fault::io, and Fault::usage for bad parts (file or tensor names, sizes), step < 0
/// or keep_last < 1.
fs::path save_checkpoint(const fs::path& root, std::int64_t step,
                         const std::vector<CheckpointPart>& parts, const Json& state,
                         int keep_last);

/// Removes all checkpoints in root but that of `step` and the `keep_last` - 1 newest before it: those of
/// later steps belong to a history that was given up, and would otherwise be resumed from. Also for who
/// goes on from that step: a writer that was killed behind its rename has removed none.
void keep_checkpoints(const fs::path& root, std::int64_t step, int keep_last);

/// A checkpoint that was passed over, and why.
struct DamagedCheckpoint {
  fs::path path{};
  std::string reason{};
};

struct LatestCheckpoint {
  std::optional<fs::path> path{};  ///< empty when there is none to go on from
  std::int64_t step = 0;
  std::vector<DamagedCheckpoint> skipped{};  ///< newer ones whose manifest does not verify
};

/// The newest checkpoint below root whose files are what its manifest says.
LatestCheckpoint latest_checkpoint(const fs::path& root);

/// Verifies the files' sizes and hashes, then that each part's file holds exactly its tensors with
/// their shapes, then fills the spans and returns state. Nothing is filled when anything differs:
/// Fault::input (where = the file, field = the tensor, found, expected) or Fault::io.
Json load_checkpoint(const fs::path& checkpoint, const std::vector<CheckpointPart>& parts);

}  // namespace notch::nn
