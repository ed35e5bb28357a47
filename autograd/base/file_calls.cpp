#include "autograd/base/file_calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace notch {
namespace {

const FileCalls* current = nullptr;  // the system's

}  // namespace

const FileCalls& system_file_calls() {
  static const FileCalls calls{
      .open = [](const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); },
      .close = ::close,
      .read = ::read,
      .pread = ::pread,
      .write = ::write,
      .pwrite = ::pwrite,
      .fsync = ::fsync,
      .rename = ::rename,
      .rename_new =
          [](const char* from, const char* to) {
            return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
          },
      .link = ::link,
      .exchange =
          [](const char* a, const char* b) {
            return ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
          },
      .mkdir = ::mkdir};
  return calls;
}

const FileCalls& file_calls() { return current ? *current : system_file_calls(); }
void use_file_calls(const FileCalls& calls) { current = &calls; }

}  // namespace notch
