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
#include <utility>

#include "autograd/base/error.h"
#include "autograd/base/file_calls.h"
#include "autograd/base/file_steps.h"

namespace notch {

FileReader::FileReader(fs::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO nobody writes to must not hang; it has no effect on regular files.
  Descriptor file(path_, O_RDONLY | O_NONBLOCK, "cannot open");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_on(path_, "cannot stat", errno);
  if (!S_ISREG(info.st_mode)) refuse_irregular(path_, info.st_mode);
  bytes_ = static_cast<std::uint64_t>(info.st_size);
  fd_ = file.release();
}

FileReader::~FileReader() {
  if (fd_ >= 0) file_calls().close(fd_);
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

void FileReader::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = retry([&] {
      return file_calls().pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    });
    if (got < 0) fail_on(path_, "cannot read", errno);
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
