// Where files go that are thrown away again.
#pragma once

#include <filesystem>
#include <string_view>

#include "autograd/base/files.h"

namespace notch {

/// What TMPDIR names, or /tmp. Throws Fault::io where that is no folder.
std::filesystem::path temporary_folder();

/// An empty directory of this process there, `temporary()`, that goes when the writer does. What killed
/// processes left under that name goes first.
DirectoryWriter temporary_directory(std::string_view name);

}  // namespace notch
