// Several files as one input: what a directory holds, in the text that a fuzzer changes.
//
// Per file a line "@name bytes" and the bytes. Anything is read: a file that is cut is as long as what
// is left of it, and what follows no such line belongs to no file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace notch::test::fuzz {

using Files = std::vector<std::pair<std::string, std::string>>;  // names and bytes, in their order

std::string pack(const Files& files);
/// Names are plain ones, at most 40 characters, without repetition.
Files unpack(std::string_view bytes);

/// The files of a directory, by name.
Files files_of(const std::filesystem::path& dir);
/// Empties `dir` and writes the files into it.
void put_files(const std::filesystem::path& dir, const Files& files);

}  // namespace notch::test::fuzz
