// The temporaries of this process: for the writers of autograd/base/files.h alone.
#pragma once

#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <mutex>

namespace notch {

/// What the writers have begun, locked while they live (autograd/base/orphans.h asks): files by the
/// descriptor they are written through, directories by one that stands here, else -1. Never destroyed:
/// a thread may abandon it while the program ends.
struct Temporaries {
  std::mutex mutex{};
  std::map<std::filesystem::path, int> begun{};

  void forget(const std::filesystem::path& path) {
    const auto gone = begun.extract(path);
    if (!gone.empty() && gone.mapped() >= 0) ::close(gone.mapped());
  }
};
inline Temporaries& temporaries() {
  static Temporaries& all = *new Temporaries;
  return all;
}

/// The descriptor, with the lock that tells of a living writer; a file system without locks has none.
inline int locked(int fd) {
  if (fd >= 0) static_cast<void>(::flock(fd, LOCK_EX | LOCK_NB));
  return fd;
}

}  // namespace notch
