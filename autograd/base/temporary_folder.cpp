#include "autograd/base/temporary_folder.h"

#include <cstdlib>
#include <system_error>

#include "autograd/base/error.h"

namespace notch {

std::filesystem::path temporary_folder() {
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(failed);
  if (!failed) return folder;
  const char* named = std::getenv("TMPDIR");
  throw Error({.fault = Fault::io,
               .where = named ? str("TMPDIR=", named) : "/tmp",
               .what = "there is no such folder for temporary files: " + failed.message(),
               .hint = "let TMPDIR name a folder that can be written"});
}

DirectoryWriter temporary_directory(std::string_view name) {
  return DirectoryWriter(temporary_folder() / name);
}

}  // namespace notch
