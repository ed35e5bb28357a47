// A file that is read at any place, piece by piece: weights, which are larger than what is kept of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "autograd/base/files.h"

namespace notch {

/// An open regular file. The const functions may run in several threads.
class FileReader {
 public:
  /// Throws Fault::io: missing, unreadable, a directory, a device or a FIFO.
  explicit FileReader(fs::path path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&&) = delete;

  const fs::path& path() const { return path_; }
  std::uint64_t bytes() const { return bytes_; }  ///< when it was opened
  /// Fills `out` from there on. Throws Fault::io, and Fault::input where the file ends before.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  fs::path path_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
};

}  // namespace notch
