// Whether the files of a model directory are those that were written.
//
// The weights have a digest of themselves (nn/safetensors.h), so that equal weights are equal files.
// Configuration and tokenizer are listed in manifest.json, as the files of a checkpoint are. It is
// taken for ours where the weights are: another program's directory may have one of its own. A listed
// file of JSON that is whole, and has neither the size nor the hash that are listed, was edited; a
// flipped bit leaves the size, and what was cut off is not JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/base/error.h"
#include "nn/safetensors.h"

namespace notch::nn {

/// Writes manifest.json over what `dir` has beside the weights.
void seal_model(const fs::path& dir);

struct FileState {
  std::string file{};  ///< in the directory
  Digest digest = Digest::holds;
  std::optional<Error> damage{};
};

/// Every file of a model directory that is, or should be, there. All of each is read.
std::vector<FileState> check_model(const fs::path& dir);

/// Throws the first damage that check_model finds; the files that were rewritten.
std::vector<std::string> require_intact(const fs::path& dir);
/// Whether it finds no damage and nothing rewritten.
bool is_intact(const fs::path& dir);

}  // namespace notch::nn
