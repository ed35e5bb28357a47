// One run per directory: a lock file with the owner's pid and host.
//
// The file is held by flock(2), which the kernel releases when the process dies however it dies;
// the text in it is for the message and for file systems where flock does nothing. So the lock of a
// dead process on this host is taken over. A lock left by another host is not: this host cannot
// tell.
#pragma once

#include <filesystem>

namespace notch::experiments {

/// In a run's directory, while one writes there.
inline constexpr const char* kLockFile = "run.lock";

class RunLock {
 public:
  /// Locks `directory`/run.lock. Throws Fault::usage naming the owner when another run holds it,
  /// Fault::io when the file cannot be written.
  explicit RunLock(const std::filesystem::path& directory);
  ~RunLock();  ///< removes the file
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace notch::experiments
