#include "autograd/base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/file_steps.h"

namespace notch {
namespace {

int open_to_lock(const fs::path& path) {
  const auto open = [&](int flags) {
    return retry([&] {
      return file_calls().open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    });
  };
  int fd = open(O_RDWR | O_CREAT);
  if (fd < 0 && errno == EACCES) fd = open(O_RDONLY);  // it is replaced, not written to
  if (fd >= 0) return fd;
  if (errno != ELOOP) fail_on(path, "cannot lock", errno);
  throw Error({.fault = Fault::io,
               .where = path.string(),
               .what = "is a link to something that is not there",
               .hint = "remove it, or choose another name"});
}

}  // namespace

FileLock::FileLock(const fs::path& path) {
  for (;;) {
    fd_ = open_to_lock(path);
    retry([&] { return ::flock(fd_, LOCK_EX); });
    if (names(path, fd_)) return;
    ::close(fd_);  // replaced while this waited
  }
}

FileLock::~FileLock() { ::close(fd_); }

}  // namespace notch
