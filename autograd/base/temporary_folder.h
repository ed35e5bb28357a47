// Where files go that are thrown away again.
#pragma once

#include <filesystem>

namespace notch {

/// What TMPDIR names, or /tmp. Throws Fault::io where that is no folder.
std::filesystem::path temporary_folder();

}  // namespace notch
