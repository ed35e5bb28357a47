#include "tests/folders.h"

namespace notch::test {

std::filesystem::path source_dir() { return NOTCH_SOURCE_DIR; }
std::filesystem::path binary_dir() { return NOTCH_BINARY_DIR; }

}  // namespace notch::test
