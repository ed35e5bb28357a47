// POSIX file operations behind files.h. Every system call is retried on EINTR and checked; short
// writes continue where they stopped; close is checked because some file systems report a full disk
// only then.
//
// Replacing a directory swaps old and new in one step (renameat2 RENAME_EXCHANGE). File systems
// without it get two renames; if a crash falls between them, remove_stale_temporaries puts the old
// one back.
#include "autograd/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/orphans.h"
#include "autograd/base/temporaries.h"
#include "autograd/base/unsynced_writes.h"

namespace notch {
namespace {

template <class Call>
auto retry(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

[[noreturn]] void fail(const fs::path& path, std::string_view action, int error,
                       std::uint64_t needed = 0) {
  ErrorParts parts{.fault = Fault::io,
                   .where = path.string(),
                   .what = str(action, ": ", std::generic_category().message(error))};
  if (error == EFBIG) {
    parts.hint = "the disk is not full: `ulimit -f`, or the file system, allows no longer file";
  } else if (error == ENOSPC || error == EDQUOT) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) == 0) {
      parts.expected = str("room for ", needed, " bytes");
      parts.found = str(std::uint64_t{disk.f_bavail} * disk.f_frsize, " bytes free");
    }
    parts.hint = "free some space or choose another directory";
  }
  throw Error(std::move(parts));
}

// A file descriptor that closes itself; `close` is the checked way.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, std::string_view action)
      : path_(path),
        fd_(retry([&] { return file_calls().open(path.c_str(), flags | O_CLOEXEC, 0666); })) {
    if (fd_ < 0) fail(path, action, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) file_calls().close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  fs::path path_;
  int fd_;
};

// On Linux the descriptor is gone even when close is interrupted, so EINTR is not retried.
void close_checked(int fd, const fs::path& path) {
  if (file_calls().close(fd) != 0 && errno != EINTR) fail(path, "cannot close", errno);
}

void write_all(int fd, const fs::path& path, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = retry([&] { return file_calls().write(fd, data, bytes); });
    if (written < 0) fail(path, "cannot write", errno, bytes);
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

thread_local int unsynced = 0;  // UnsyncedWrites alive

int synced(int fd) { return unsynced > 0 ? 0 : file_calls().fsync(fd); }

void sync_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY, "cannot open");
  if (retry([&] { return synced(file.get()); }) != 0) fail(path, "cannot fsync", errno);
}

void sync_directory(const fs::path& path) {
  const Descriptor directory(path, O_RDONLY | O_DIRECTORY, "cannot open directory");
  // EINVAL: a file system that cannot fsync directories (some network ones); nothing more to do
  // there.
  if (retry([&] { return synced(directory.get()); }) != 0 && errno != EINVAL) {
    fail(path, "cannot fsync directory", errno);
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
  if (error) fail(directory, "cannot list", error.value());
  sync_directory(directory);
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void rename_checked(const fs::path& from, const fs::path& to) {
  if (retry([&] { return file_calls().rename(from.c_str(), to.c_str()); }) != 0)
    fail(to, "cannot rename into place", errno);
}

/// The same; false where another writer has put a directory there by now.
bool rename_to_new(const fs::path& from, const fs::path& to) {
  if (retry([&] { return file_calls().rename(from.c_str(), to.c_str()); }) == 0) return true;
  if (errno != ENOTEMPTY && errno != EEXIST) fail(to, "cannot rename into place", errno);
  return false;
}

// Without a trailing slash.
fs::path destination(fs::path path) {
  if (!path.has_filename()) path = path.parent_path();
  check(path.has_filename() && path.filename() != "." && path.filename() != "..", path.string(),
        "cannot be written: not a name");
  return path;
}

// Of the entry itself; a symbolic link may be replaced by anything.
bool is_in_the_way(const fs::file_status& status, fs::file_type wanted) {
  return fs::exists(status) && !fs::is_symlink(status) && status.type() != wanted;
}

/// The bytes of an open file; where `streams`, also those of a pipe, a socket or a terminal.
std::string read_open(int fd, const fs::path& path, std::uint64_t max_bytes, bool streams) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail(path, "cannot stat", errno);
  const bool ends = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) || ::isatty(fd) == 1;
  if (!S_ISREG(info.st_mode) && !(streams && ends)) {
    throw Error({.fault = Fault::io,
                 .where = path.string(),
                 .what = "not a regular file",
                 .found = S_ISDIR(info.st_mode) ? "a directory" : "a device, FIFO or socket",
                 .expected = streams ? "a regular file or a pipe" : "a regular file"});
  }
  const auto too_large = [&](std::uint64_t bytes) {
    throw Error({.fault = Fault::input,
                 .where = path.string(),
                 .what = "file too large",
                 .found = str(bytes, " bytes"),
                 .expected = str("at most ", max_bytes, " bytes")});
  };
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > max_bytes) too_large(size);
  std::string bytes;
  try {
    // One byte more than expected, so that the common case ends with one read of 0 bytes.
    bytes.resize(static_cast<std::size_t>(size) + 1);
    std::size_t used = 0;
    while (true) {
      if (used == bytes.size()) bytes.resize(2 * used);  // the file grows, or is in /proc
      const ssize_t got =
          retry([&] { return file_calls().read(fd, bytes.data() + used, bytes.size() - used); });
      if (got < 0) fail(path, "cannot read", errno);
      if (got == 0) break;
      used += static_cast<std::size_t>(got);
      if (used > max_bytes) too_large(used);
    }
    bytes.resize(used);
  } catch (const std::bad_alloc&) {
    fail(path, str("cannot hold ", size, " bytes in memory"), ENOMEM);
  }
  return bytes;
}

}  // namespace

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  // O_NONBLOCK: opening a FIFO nobody writes to must not hang; it has no effect on regular files.
  const Descriptor file(path, O_RDONLY | O_NONBLOCK, "cannot open");
  return read_open(file.get(), path, max_bytes, false);
}

std::string read_input(const fs::path& path, std::uint64_t max_bytes) {
  if (path == "-") return read_open(STDIN_FILENO, "stdin", max_bytes, true);
  const Descriptor file(path, O_RDONLY, "cannot open");  // a FIFO waits for its writer, as cat does
  return read_open(file.get(), path, max_bytes, true);
}

void write_file(const fs::path& path, std::string_view bytes) {
  FileWriter file(path);
  file.write(bytes);
  file.commit();
}

fs::path behind_link(const fs::path& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  const fs::path target = fs::canonical(path, error);
  return error ? path : target;
}

void append_file(const fs::path& path, std::string_view bytes) {
  std::error_code ignored;
  if (fs::is_symlink(path, ignored)) {
    throw Error({.fault = Fault::io,
                 .where = path.string(),
                 .what = "cannot be appended to",
                 .found = "a symbolic link",
                 .expected = "a regular file",
                 .hint = "put the file itself in its place"});
  }
  // O_NOFOLLOW: the link may have come since. O_NONBLOCK: a FIFO that nobody reads must not hang.
  Descriptor file(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
                  "cannot open for appending");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(path, "cannot stat", errno);
  if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) {
    throw Error({.fault = Fault::io,
                 .where = path.string(),
                 .what = "cannot be appended to",
                 .found = "a FIFO or socket",
                 .expected = "a regular file"});
  }
  write_all(file.get(), path, bytes.data(), bytes.size());
  close_checked(file.release(), path);
}

FileWriter::FileWriter(fs::path path) : path_(destination(std::move(path))) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (is_in_the_way(status, fs::file_type::regular)) {
    // Renaming over it would replace a device such as /dev/null by a file.
    throw Error({.fault = Fault::io,
                 .where = path_.string(),
                 .what = "cannot be replaced: not a regular file",
                 .found = fs::is_directory(status) ? "a directory" : "a device, FIFO or socket",
                 .expected = "a regular file"});
  }
  const std::lock_guard lock(temporaries().mutex);
  Begun begun = begin_temporary(path_, [](const fs::path& temporary) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    return retry([&] { return file_calls().open(temporary.c_str(), kFlags, 0666); });
  });
  if (begun.fd < 0) fail(begun.path, "cannot create", errno);
  temporary_ = std::move(begun.path);
  fd_ = begun.fd;
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) file_calls().close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  const std::lock_guard lock(temporaries().mutex);
  temporaries().forget(temporary_);
}

void FileWriter::write(std::string_view bytes) { write(bytes.data(), bytes.size()); }

void FileWriter::write(const void* data, std::size_t bytes) {
  write_all(fd_, path_, static_cast<const char*>(data), bytes);
  bytes_ += bytes;
}

void FileWriter::overwrite(std::uint64_t offset, std::string_view bytes) {
  check(offset <= bytes_ && bytes.size() <= bytes_ - offset, path_.string(), "has ", bytes_,
        " bytes; cannot replace ", bytes.size(), " at ", offset);
  while (!bytes.empty()) {
    const ssize_t written = retry([&] {
      return file_calls().pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    });
    if (written < 0) fail(path_, "cannot write", errno, bytes.size());
    offset += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  if (retry([&] { return synced(fd_); }) != 0) fail(path_, "cannot fsync", errno, bytes_);
  close_checked(std::exchange(fd_, -1), path_);
  {
    const std::lock_guard lock(temporaries().mutex);
    rename_checked(temporary_, path_);
    temporaries().forget(temporary_);
  }
  temporary_.clear();
  sync_directory(parent_of(path_));
}

UnsyncedWrites::UnsyncedWrites() { ++unsynced; }
UnsyncedWrites::~UnsyncedWrites() { --unsynced; }

DirectoryWriter::DirectoryWriter(fs::path path) : path_(destination(std::move(path))) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (is_in_the_way(status, fs::file_type::directory)) {
    throw Error({.fault = Fault::io,
                 .where = path_.string(),
                 .what = "cannot be replaced: not a directory",
                 .found = "a file",
                 .expected = "a directory or nothing"});
  }
  remove_orphans(path_);
  const std::lock_guard lock(temporaries().mutex);
  Begun begun = begin_temporary(path_, [](const fs::path& temporary) {
    if (file_calls().mkdir(temporary.c_str(), 0777) != 0) return -1;
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const int fd = retry([&] { return file_calls().open(temporary.c_str(), kFlags, 0); });
    if (fd >= 0) return fd;
    const int cause = errno;
    if (cause != ENOENT) ::rmdir(temporary.c_str());
    errno = cause == ENOENT ? EEXIST : cause;  // taken for a killed writer's in between
    return -1;
  });
  if (begun.fd < 0) fail(begun.path, "cannot create directory", errno);
  temporary_ = std::move(begun.path);
  ::close(begun.fd);  // its lock is kept with its name
}

DirectoryWriter::~DirectoryWriter() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  const std::lock_guard lock(temporaries().mutex);
  temporaries().forget(temporary_);
}

void DirectoryWriter::commit() {
  sync_tree(temporary_);
  std::error_code error;
  fs::path old;
  std::unique_lock lock(temporaries().mutex);
  std::optional<Claim> replaced(path_);  // no one's orphan while it has a temporary's name
  const bool is_new = !fs::exists(fs::symlink_status(path_, error));
  if (is_new && rename_to_new(temporary_, path_)) {
    // there was nothing to replace
  } else if (retry([&] { return file_calls().exchange(temporary_.c_str(), path_.c_str()); }) == 0) {
    old = temporary_;
    // Not what was claimed where another writer came between; it may be theirs to remove by now.
    if (!replaced->is_at(old)) replaced.emplace(old);
    if (!*replaced) old.clear();
  } else if (errno == ENOSYS || errno == EINVAL) {
    old = temporary_;
    old += kAside;
    fs::remove_all(old, error);
    rename_checked(path_, old);
    if (retry([&] { return file_calls().rename(temporary_.c_str(), path_.c_str()); }) != 0) {
      const int cause = errno;
      file_calls().rename(old.c_str(), path_.c_str());
      fail(path_, "cannot rename into place", cause);
    }
  } else {
    fail(path_, "cannot rename into place", errno);
  }
  committed_ = true;
  temporaries().forget(temporary_);
  if (!old.empty()) temporaries().begun.emplace(old, replaced->release());
  lock.unlock();
  sync_directory(parent_of(path_));
  if (old.empty()) return;
  fs::remove_all(old, error);  // what stays is a stale temporary
  lock.lock();
  temporaries().forget(old);
}

void remove_stale_temporaries(const fs::path& directory,
                              const std::function<bool(std::string_view base)>& ours) {
  std::error_code error;
  std::vector<fs::path> names;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path());
  }
  for (const fs::path& path : names) {
    const std::string name = path.filename().string();
    std::string base;
    if (!is_temporary_name(name, base) || !ours(base)) continue;
    const fs::path original = directory / base;
    if (name.ends_with(kAside) && !fs::exists(original, error)) {
      rename_checked(path, original);
    } else {
      fs::remove_all(path, error);
    }
  }
}

void abandon_temporaries() {
  temporaries().mutex.lock();  // for good
  for (const auto& [path, lock] : temporaries().begun) {
    std::error_code error;
    // Again where files came while it was being emptied.
    for (int i = 0; i < 10 && fs::exists(fs::symlink_status(path, error)); ++i) {
      fs::remove_all(path, error);
    }
  }
}

}  // namespace notch
