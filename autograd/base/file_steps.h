// Steps of the operations of files.h: a system call that is tried again, checked, and turned into an error.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <string_view>

#include "autograd/base/files.h"

namespace notch {

/// The call, again while a signal interrupts it.
template <class Call>
auto retry(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// Throws Fault::io: what of the file could not be done and why, for a full disk with the bytes that were
/// `needed` and are free.
[[noreturn]] void fail_on(const fs::path& path, std::string_view action, int error,
                          std::uint64_t needed = 0);

/// Throws Fault::io: what is there, of that st_mode, is not a regular file.
[[noreturn]] void refuse_irregular(const fs::path& path, mode_t mode,
                                   std::string_view expected = "");

/// A file descriptor that closes itself. Throws as fail_on.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, std::string_view action);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release();

 private:
  int fd_;
};

/// The way to close what was written: some file systems report a full disk only then.
void close_checked(int fd, const fs::path& path);

void write_all(int fd, const fs::path& path, const char* data, std::size_t bytes);

/// fsync, or nothing while an UnsyncedWrites lives.
int synced(int fd);

void sync_directory(const fs::path& path);
/// Everything in it, and itself last.
void sync_tree(const fs::path& directory);

/// Whether the path still names what is open there.
bool names(const fs::path& path, int fd);

/// What has the path's last name in it.
fs::path parent_of(const fs::path& path);

void rename_checked(const fs::path& from, const fs::path& to);

}  // namespace notch
