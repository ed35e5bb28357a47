// UnsyncedWrites: writes as of autograd/base/files.h, for files that are thrown away again.
#pragma once

namespace notch {

/// While one lives, what this thread writes is not forced to the disk: no crash needs to leave it
/// complete.
class UnsyncedWrites {
 public:
  UnsyncedWrites();
  ~UnsyncedWrites();
  UnsyncedWrites(const UnsyncedWrites&) = delete;
  UnsyncedWrites& operator=(const UnsyncedWrites&) = delete;
};

}  // namespace notch
