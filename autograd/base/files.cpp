// Reads, appends, and what is done to files as a whole, behind files.h; its writers are in
// file_writers.cpp. Every system call is retried on EINTR and checked (file_steps.h).
#include "autograd/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>
#include <system_error>
#include <vector>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/file_steps.h"
#include "autograd/base/temporaries.h"

namespace notch {
namespace {

/// The bytes of an open file; where `streams`, also those of a pipe, a socket or a terminal.
std::string read_open(int fd, const fs::path& path, std::uint64_t max_bytes, bool streams) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail_on(path, "cannot stat", errno);
  const bool ends = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) || ::isatty(fd) == 1;
  if (!S_ISREG(info.st_mode) && !(streams && ends))
    refuse_irregular(path, info.st_mode, streams ? "a regular file or a pipe" : "a regular file");
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
      if (got < 0) fail_on(path, "cannot read", errno);
      if (got == 0) break;
      used += static_cast<std::size_t>(got);
      if (used > max_bytes) too_large(used);
    }
    bytes.resize(used);
  } catch (const std::bad_alloc&) {
    fail_on(path, str("cannot hold ", size, " bytes in memory"), ENOMEM);
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

void write_file(const fs::path& path, std::string_view bytes, Existing existing) {
  FileWriter file(path, existing);
  file.write(bytes);
  file.commit();
}

void make_directories(const fs::path& directory, std::vector<fs::path>* made) {
  std::error_code error;
  std::vector<fs::path> missing;  // lowest first
  for (fs::path at = directory.has_filename() ? directory : directory.parent_path();
       !at.empty() && !fs::is_directory(at, error); at = at.parent_path()) {
    missing.push_back(at);
  }
  while (!missing.empty()) {
    const fs::path at = missing.back();
    missing.pop_back();
    if (file_calls().mkdir(at.c_str(), 0777) == 0) {
      if (made) made->push_back(at);
      continue;
    }
    const int cause = errno;
    if (cause == EEXIST && fs::is_directory(at, error)) continue;  // another has been faster
    // What was above is gone: of a command that was refused and had made it.
    if (cause == ENOENT && !fs::exists(parent_of(at), error))
      return make_directories(directory, made);
    const bool in_the_way = cause == EEXIST || cause == ENOTDIR;
    const std::string why =
        cause == EEXIST ? "something else has this name" : std::generic_category().message(cause);
    throw Error({.fault = Fault::io,
                 .where = at.string(),
                 .what = str("cannot create the directory: ", why),
                 .hint = str(in_the_way ? "move it away, or " : "",
                             "choose a folder that can be written")});
  }
}

fs::path behind_link(const fs::path& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  const fs::path target = fs::canonical(path, error);
  if (!error) return target;
  if (error != std::errc::no_such_file_or_directory) return path;
  // Nothing is there yet: at the end of the links, which the next call follows one by one.
  return behind_link(path.parent_path() / fs::read_symlink(path, error));
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
  if (::fstat(file.get(), &info) != 0) fail_on(path, "cannot stat", errno);
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
