// The writers of files.h. Short writes continue where they stopped; close is checked because some file
// systems report a full disk only then.
//
// Replacing a directory swaps old and new in one step (renameat2 RENAME_EXCHANGE). File systems
// without it get two renames; if a crash falls between them, remove_stale_temporaries puts the old
// one back. What must not be replaced is renamed by a call that refuses to: for a directory that is
// rename(2), which takes the place of an empty one and of nothing else.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/file_steps.h"
#include "autograd/base/files.h"
#include "autograd/base/orphans.h"
#include "autograd/base/temporaries.h"

namespace notch {
namespace {

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

/// 0, or why it could not be done.
int rename_error(const fs::path& from, const fs::path& to) {
  return retry([&] { return file_calls().rename(from.c_str(), to.c_str()); }) == 0 ? 0 : errno;
}

/// Renames a directory; false where another writer has put one there by now.
bool rename_to_new(const fs::path& from, const fs::path& to) {
  const int error = rename_error(from, to);
  if (error == 0) return true;
  if (error != ENOTEMPTY && error != EEXIST) fail_on(to, "cannot rename into place", error);
  return false;
}

/// Renames a directory to a name that nothing has, or an empty directory.
void rename_or_refuse(const fs::path& from, const fs::path& to) {
  const int error = rename_error(from, to);
  if (error == ENOTEMPTY || error == EEXIST || error == ENOTDIR) refuse_existing(to);
  if (error != 0) fail_on(to, "cannot rename into place", error);
}

/// Renames a file to a name that nothing has.
void rename_file_or_refuse(const fs::path& from, const fs::path& to) {
  const FileCalls& calls = file_calls();
  if (retry([&] { return calls.rename_new(from.c_str(), to.c_str()); }) == 0) return;
  if (errno == EINVAL || errno == ENOSYS) {  // the file system does not know it
    // Neither does a second name replace anything.
    if (retry([&] { return calls.link(from.c_str(), to.c_str()); }) == 0) {
      ::unlink(from.c_str());
      return;
    }
    if (errno == EPERM || errno == EOPNOTSUPP ||
        errno == ENOSYS) {  // there are none: a place is held
      constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
      const int held = retry([&] { return calls.open(to.c_str(), kFlags, 0666); });
      if (held >= 0) {
        calls.close(held);
        if (const int error = rename_error(from, to); error != 0) {
          ::unlink(to.c_str());
          fail_on(to, "cannot rename into place", error);
        }
        return;
      }
    }
  }
  if (errno == EEXIST) refuse_existing(to);
  fail_on(to, "cannot rename into place", errno);
}

/// A temporary that has begun: at the end of the scope, also by an exception, its lock ends.
struct Held {
  const fs::path& path;
  ~Held() {
    const std::lock_guard lock(temporaries().mutex);
    temporaries().forget(path);
  }
};

}  // namespace

void refuse_existing(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::symlink_status(path, error).type();
  const bool device = type == fs::file_type::character || type == fs::file_type::block;
  throw Error({.where = path.string(),
               .what = "exists",
               .hint = device ? "choose a new file's name" : "choose another name, or remove it"});
}

void require_absent(const fs::path& path) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) refuse_existing(path);
}

FileWriter::FileWriter(fs::path path, Existing existing)
    : path_(destination(std::move(path))), existing_(existing) {
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
  if (existing_ == Existing::refuse) require_absent(path_);
  const std::lock_guard lock(temporaries().mutex);
  Begun begun = begin_temporary(path_, [](const fs::path& temporary) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    return retry([&] { return file_calls().open(temporary.c_str(), kFlags, 0666); });
  });
  if (begun.fd < 0) fail_on(begun.path, "cannot create", errno);
  temporary_ = std::move(begun.path);
  fd_ = begun.fd;
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) file_calls().close(fd_);
  if (temporary_.empty()) return;
  const Held held{temporary_};
  ::unlink(temporary_.c_str());
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
    if (written < 0) fail_on(path_, "cannot write", errno, bytes.size());
    offset += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  if (retry([&] { return synced(fd_); }) != 0) fail_on(path_, "cannot fsync", errno, bytes_);
  close_checked(std::exchange(fd_, -1), path_);
  {
    const std::lock_guard lock(temporaries().mutex);
    if (existing_ == Existing::refuse) {
      rename_file_or_refuse(temporary_, path_);
    } else {
      rename_checked(temporary_, path_);
    }
    temporaries().forget(temporary_);
  }
  temporary_.clear();
  sync_directory(parent_of(path_));
  if (existing_ == Existing::refuse) remove_orphans(path_);
}

DirectoryWriter::DirectoryWriter(fs::path path, Existing existing)
    : path_(destination(std::move(path))), existing_(existing) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (is_in_the_way(status, fs::file_type::directory)) {
    throw Error({.fault = Fault::io,
                 .where = path_.string(),
                 .what = "cannot be replaced: not a directory",
                 .found = "a file",
                 .expected = "a directory or nothing"});
  }
  if (existing_ == Existing::replace) {
    remove_orphans(path_);
  } else if (fs::exists(status) && (fs::is_symlink(status) || !fs::is_empty(path_, error))) {
    refuse_existing(path_);
  }
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
  if (begun.fd < 0) fail_on(begun.path, "cannot create directory", errno);
  temporary_ = std::move(begun.path);
  ::close(begun.fd);  // its lock is kept with its name
}

DirectoryWriter::~DirectoryWriter() {
  if (committed_) return;
  const Held held{temporary_};
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void DirectoryWriter::commit() {
  sync_tree(temporary_);
  std::error_code error;
  fs::path old;
  std::unique_lock lock(temporaries().mutex);
  if (existing_ == Existing::refuse) {
    rename_or_refuse(temporary_, path_);
    committed_ = true;
    temporaries().forget(temporary_);
    lock.unlock();
    sync_directory(parent_of(path_));
    return remove_orphans(path_);
  }
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
      fail_on(path_, "cannot rename into place", cause);
    }
  } else {
    fail_on(path_, "cannot rename into place", errno);
  }
  committed_ = true;
  temporaries().forget(temporary_);
  if (!old.empty()) temporaries().begun.emplace(old, replaced->release());
  lock.unlock();
  const Held held{old};
  sync_directory(parent_of(path_));
  if (!old.empty()) fs::remove_all(old, error);  // what stays is a stale temporary
}

}  // namespace notch
