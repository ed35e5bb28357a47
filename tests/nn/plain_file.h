// Writes a file without the durability of write_file: a test that spoils a file a thousand times
// would wait for a thousand fsyncs. (Removed first: ext4 also flushes a file that was truncated.)
#pragma once

#include <filesystem>
#include <fstream>
#include <string_view>

namespace notch::test {

inline void put_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace notch::test
