#include "autograd/base/file_steps.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <string>
#include <system_error>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/unsynced_writes.h"

namespace notch {
namespace {

thread_local int unsynced = 0;  // UnsyncedWrites alive

void sync_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY, "cannot open");
  if (retry([&] { return synced(file.get()); }) != 0) fail_on(path, "cannot fsync", errno);
}

}  // namespace

void fail_on(const fs::path& path, std::string_view action, int error, std::uint64_t needed) {
  ErrorParts parts{.fault = Fault::io,
                   .where = path.string(),
                   .what = str(action, ": ", std::generic_category().message(error))};
  if (error == EFBIG) {
    parts.hint = "the disk is not full: `ulimit -f`, or the file system, allows no longer file";
  } else if (error == ENOSPC || error == EDQUOT) {
    struct statvfs disk {};
    const bool known = ::statvfs(parent_of(path).c_str(), &disk) == 0;
    if (known && disk.f_files > 0 && disk.f_favail == 0) {
      parts.found = "no inode free: too many files";
    } else if (known) {
      parts.expected = str("room for ", needed, " bytes");
      parts.found = str(std::uint64_t{disk.f_bavail} * disk.f_frsize, " bytes free");
    }
    parts.hint = "free some space or choose another directory";
  }
  throw Error(std::move(parts));
}

void refuse_irregular(const fs::path& path, mode_t mode, std::string_view expected) {
  throw Error({.fault = Fault::io,
               .where = path.string(),
               .what = "not a regular file",
               .found = S_ISDIR(mode) ? "a directory" : "a device, FIFO or socket",
               .expected = std::string(expected)});
}

Descriptor::Descriptor(const fs::path& path, int flags, std::string_view action)
    : fd_(retry([&] { return file_calls().open(path.c_str(), flags | O_CLOEXEC, 0666); })) {
  if (fd_ < 0) fail_on(path, action, errno);
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) file_calls().close(fd_);
}

int Descriptor::release() { return std::exchange(fd_, -1); }

// On Linux the descriptor is gone even when close is interrupted, so EINTR is not retried.
void close_checked(int fd, const fs::path& path) {
  if (file_calls().close(fd) != 0 && errno != EINTR) fail_on(path, "cannot close", errno);
}

void write_all(int fd, const fs::path& path, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = retry([&] { return file_calls().write(fd, data, bytes); });
    if (written < 0) fail_on(path, "cannot write", errno, bytes);
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

UnsyncedWrites::UnsyncedWrites() { ++unsynced; }
UnsyncedWrites::~UnsyncedWrites() { --unsynced; }

int synced(int fd) { return unsynced > 0 ? 0 : file_calls().fsync(fd); }

void sync_directory(const fs::path& path) {
  const Descriptor directory(path, O_RDONLY | O_DIRECTORY, "cannot open directory");
  // EINVAL: a file system that cannot fsync directories (some network ones); nothing more to do
  // there.
  if (retry([&] { return synced(directory.get()); }) != 0 && errno != EINVAL) {
    fail_on(path, "cannot fsync directory", errno);
  }
}

void sync_tree(const fs::path& directory) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_symlink()) continue;
    if (entry->is_directory()) {
      sync_tree(entry->path());
    } else if (entry->is_regular_file()) {
      sync_file(entry->path());
    }
  }
  if (error) fail_on(directory, "cannot list", error.value());
  sync_directory(directory);
}

bool names(const fs::path& path, int fd) {
  struct stat open {};
  struct stat named {};
  return ::fstat(fd, &open) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void rename_checked(const fs::path& from, const fs::path& to) {
  if (retry([&] { return file_calls().rename(from.c_str(), to.c_str()); }) != 0)
    fail_on(to, "cannot rename into place", errno);
}

}  // namespace notch
