// What a result depends on besides its configuration: source revision, compiler, machine,
// libraries.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/json.h"

namespace notch::experiments {

/// What only the caller knows.
struct EnvironmentInputs {
  std::vector<std::string> command_line{};
  int threads = 0;
  std::string products{};  ///< train.products
  /// For example {"config", openblas_get_config()}, {"core", …} and the OPENBLAS_* variables.
  std::vector<std::pair<std::string, std::string>> openblas{};
};

/// The object written to env.json. What cannot be found out is null, never an error.
Json describe_environment(const EnvironmentInputs& inputs);

/// Where this program's file is; "" where that cannot be known.
std::filesystem::path binary_directory();

/// SHA-256 of this program's file; "" where it cannot be read.
std::string binary_sha256();

/// The commit that the work tree around `directory` has checked out: 40 or 64 hexadecimal digits,
/// read from .git (HEAD, loose and packed refs, linked work trees) without running git. "" when
/// there is none.
std::string git_commit(const std::filesystem::path& directory);

}  // namespace notch::experiments
