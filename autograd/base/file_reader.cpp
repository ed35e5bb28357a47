// Weights are read and not mapped. What is used as it stands is read straight into its place: 538 MB of a Llama's
// floats from the page cache take 0.25 s of processor time, and the whole start of a program on them 0.31 s. A mapping
// that is copied takes 0.30 s and twice the memory; one that is left in place would save most of the 0.25 s, for
// floats of 32 bits that are not turned (GPT-2's are) and whose digest nobody compares. It would bind a running
// model to its file: who writes over it changes the weights, who cuts it off or pulls the disk ends the process by
// SIGBUS, where read_at throws an Error; and a failing read could not be tried by tests (file_calls.h).
#include "autograd/base/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"

namespace notch {
namespace {

[[noreturn]] void fail(const fs::path& path, std::string_view what) {
  throw Error({.fault = Fault::io,
               .where = path.string(),
               .what = str(what, ": ", std::generic_category().message(errno))});
}

}  // namespace

FileReader::FileReader(fs::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO nobody writes to must not hang; it has no effect on regular files.
  do {
    fd_ = file_calls().open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) fail(path_, "cannot open");
  struct stat info {};
  const bool known = ::fstat(fd_, &info) == 0;
  if (known && S_ISREG(info.st_mode)) {
    bytes_ = static_cast<std::uint64_t>(info.st_size);
    return;
  }
  const int error = errno;
  file_calls().close(fd_);
  errno = error;
  if (!known) fail(path_, "cannot stat");
  throw Error({.fault = Fault::io,
               .where = path_.string(),
               .what = "not a regular file",
               .found = S_ISDIR(info.st_mode) ? "a directory" : "a device, FIFO or socket"});
}

FileReader::~FileReader() {
  if (fd_ >= 0) file_calls().close(fd_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

void FileReader::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = file_calls().pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, "cannot read");
    if (got == 0) {
      throw Error({.fault = Fault::input,
                   .where = path_.string(),
                   .what = "became shorter while it was read",
                   .found = str("its end at ", offset),
                   .expected = str(bytes_, " bytes")});
    }
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace notch
