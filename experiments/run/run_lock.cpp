#include "experiments/run/run_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/file_steps.h"
#include "autograd/base/temporaries.h"

namespace notch::experiments {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_io(const fs::path& path, int error) {
  throw Error(
      {.fault = Fault::io,
       .where = path.string(),
       .what = str("cannot lock the run directory: ", std::generic_category().message(error)),
       .hint = "choose another directory with --out"});
}

/// The lock file, made where it is not there. It will be overwritten: a link to something else, or a
/// file with a second name elsewhere, is not touched.
int open_lock(const fs::path& path) {
  int fd = -1;
  do {
    fd = file_calls().open(path.c_str(),
                           O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  } while (fd < 0 && errno == EINTR);
  struct stat info {};
  if (fd < 0 && errno != ELOOP) fail_io(path, errno);
  if (fd >= 0 && ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink <= 1) return fd;
  const bool is_link = fd < 0 || S_ISREG(info.st_mode);
  if (fd >= 0) ::close(fd);
  throw Error({.fault = Fault::io,
               .where = path.string(),
               .what = "is not the lock of a run",
               .found = is_link ? "a link to another file" : "not a regular file",
               .expected = "a file that runs write, or nothing",
               .hint = "remove it, or choose another directory with --out"});
}

/// When the process started, in ticks since boot (proc(5): field 22 of stat); 0 when unknown. With
/// it a pid that was given to another process is told apart from its former owner.
std::uint64_t start_ticks(long pid) {
  std::ifstream file(str("/proc/", pid, "/stat"));
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  const std::size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(after_name + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks = 0;
  fields >> ticks;
  return ticks;
}

struct Owner {
  long pid = 0;
  std::string host{};
  std::uint64_t ticks = 0;
};

/// The file's text is "pid host start\n"; a half-written or empty file has no owner.
Owner read_owner(int fd) {
  char text[512] = {};
  if (::pread(fd, text, sizeof text - 1, 0) <= 0) return {};
  Owner owner;
  std::istringstream in(text);
  if (!(in >> owner.pid >> owner.host) || owner.pid <= 0) return {};
  in >> owner.ticks;
  return owner;
}

bool is_alive(const Owner& owner) {
  if (owner.pid == ::getpid()) return false;  // flock has told that it is not ours
  if (::kill(static_cast<pid_t>(owner.pid), 0) != 0 && errno != EPERM) return false;
  const std::uint64_t ticks = start_ticks(owner.pid);
  return owner.ticks == 0 || ticks == 0 || ticks == owner.ticks;
}

[[noreturn]] void fail_owned(const fs::path& path, const Owner& owner, bool other_host) {
  throw Error({.fault = Fault::usage,
               .where = path.parent_path().string(),
               .what = "another run uses this directory",
               .field = kLockFile,
               .found = owner.pid > 0 ? str("pid ", owner.pid, " on ", owner.host)
                                      : std::string("a locked file"),
               .hint = other_host
                           ? str("if that run has ended, remove ", path.string())
                           : "wait for it, stop it, or choose another directory with --out"});
}

}  // namespace

RunLock::RunLock(const fs::path& directory) : path_(directory / kLockFile) {
  for (;;) {
    fd_ = open_lock(path_);
    // A file system without flock leaves the pid as the only witness.
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      const Owner owner = read_owner(fd_);
      ::close(fd_);
      fail_owned(path_, owner, false);
    }
    // An owner that ended between our open and our lock has unlinked the file we hold: start again.
    if (names(path_, fd_)) break;
    ::close(fd_);
  }
  const Owner owner = read_owner(fd_);
  const bool other_host = owner.pid > 0 && owner.host != host_name();
  if (other_host || (owner.pid > 0 && is_alive(owner))) {
    ::close(fd_);
    fail_owned(path_, owner, other_host);
  }
  const std::string text = str(::getpid(), " ", host_name(), " ", start_ticks(::getpid()), "\n");
  errno = ENOSPC;  // of a write that stops short
  if (::ftruncate(fd_, 0) != 0 ||
      ::pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    ::unlink(path_.c_str());
    ::close(fd_);
    fail_io(path_, error);
  }
}

RunLock::~RunLock() {
  ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace notch::experiments
