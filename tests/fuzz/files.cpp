#include "tests/fuzz/files.h"

#include <algorithm>
#include <charconv>

#include "autograd/base/error.h"
#include "autograd/base/files.h"
#include "tests/nn/plain_file.h"

namespace notch::test::fuzz {
namespace {

bool is_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 40 && name[0] != '.' && std::ranges::all_of(name, plain);
}

}  // namespace

std::string pack(const Files& files) {
  std::string out;
  for (const auto& [name, bytes] : files) out += str("@", name, " ", bytes.size(), "\n", bytes);
  return out;
}

Files unpack(std::string_view bytes) {
  Files files;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n'), space = bytes.find(' ');
    if (bytes[0] != '@' || end == bytes.npos || space > end) return files;
    std::size_t size = 0;
    std::from_chars(bytes.data() + space + 1, bytes.data() + end, size);
    const std::string name(bytes.substr(1, space - 1));
    bytes.remove_prefix(end + 1);
    const std::string_view content = bytes.substr(0, size);
    bytes.remove_prefix(content.size());
    const bool again =
        std::ranges::any_of(files, [&](const auto& file) { return file.first == name; });
    if (is_name(name) && !again) files.emplace_back(name, content);
  }
  return files;
}

Files files_of(const std::filesystem::path& dir) {
  Files files;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    files.emplace_back(entry.path().filename().string(), read_file(entry.path()));
  }
  std::ranges::sort(files);
  return files;
}

void put_files(const std::filesystem::path& dir, const Files& files) {
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  for (const auto& [name, bytes] : files) put_file(dir / name, bytes);
}

}  // namespace notch::test::fuzz
