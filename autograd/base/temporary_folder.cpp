#include "autograd/base/temporary_folder.h"

#include <cstdlib>
#include <system_error>
#include <utility>

#include "autograd/base/error.h"

namespace notch {
namespace {

constexpr const char* kRemedy = "let TMPDIR name a folder that can be written";

}  // namespace

std::filesystem::path temporary_folder() {
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(failed);
  if (!failed) return folder;
  const char* named = std::getenv("TMPDIR");
  throw Error({.fault = Fault::io,
               .where = named ? str("TMPDIR=", named) : "/tmp",
               .what = "there is no such folder for temporary files: " + failed.message(),
               .hint = kRemedy});
}

DirectoryWriter temporary_directory(std::string_view name) {
  const std::filesystem::path folder = temporary_folder();
  try {
    return DirectoryWriter(folder / name);
  } catch (const Error& e) {
    ErrorParts parts = e.parts();
    if (parts.hint.empty()) parts.hint = kRemedy;
    throw Error(std::move(parts));
  }
}

}  // namespace notch
