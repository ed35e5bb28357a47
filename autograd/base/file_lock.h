// A lock on a file that several processes read and write anew, each what the others have added as well.
#pragma once

#include "autograd/base/files.h"

namespace notch {

/// While it lives, no other process (nor another of these here) has one of the same path; waits for that. Makes
/// the file where there is none. It may be replaced meanwhile, as the writers of files.h do: who waits gets the
/// lock of the file that has the name then. A file system without locks (flock) gives none, and no error.
/// Throws Fault::io for what cannot be opened, and for a link.
class FileLock {
 public:
  explicit FileLock(const fs::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace notch
