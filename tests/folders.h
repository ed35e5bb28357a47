// The folders of the checkout and of the build, for tests that read the one and run the other's
// program.
//
// Functions of one small file, not definitions for all: a test is compiled alike in every clone, and
// a compiler's cache finds it.
#pragma once

#include <filesystem>

namespace notch::test {

std::filesystem::path source_dir();
std::filesystem::path binary_dir();

}  // namespace notch::test
