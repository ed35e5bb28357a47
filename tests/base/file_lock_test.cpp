// A file that several processes read and write anew loses nothing that any of them has added.
#include "autograd/base/file_lock.h"

#include <string>

#include "tests/base/processes.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace file_lock_test {

using namespace notch;
using test::error_of;
using test::TemporaryDirectory;

TEST_CASE("processes that count in one file under its lock lose no count") {
  constexpr int kProcesses = 4, kTimes = 50;
  const TemporaryDirectory dir;
  test::in_processes(kProcesses, [&](int) {
    for (int n = 0; n < kTimes; ++n) {
      const FileLock lock(dir / "count");
      write_file(dir / "count", read_file(dir / "count") + "x");
    }
  });
  CHECK(read_file(dir / "count") == std::string(kProcesses * kTimes, 'x'));
}

TEST_CASE("a file is locked whatever may be done with it, a link is not") {
  const TemporaryDirectory dir;
  write_file(dir / "mine", "text");
  fs::permissions(dir / "mine", fs::perms::owner_read);
  { const FileLock lock(dir / "mine"); }
  CHECK(read_file(dir / "mine") == "text");
  { const FileLock again(dir / "mine"); }
  fs::create_symlink("nowhere", dir / "dangling");
  const ErrorParts parts = error_of([&] { FileLock lock(dir / "dangling"); });
  CHECK(parts.fault == Fault::io);
  CHECK_FALSE(parts.hint.empty());
  CHECK_FALSE(fs::exists(dir / "nowhere"));
  CHECK(error_of([&] { FileLock lock(dir / "absent/file"); }).fault == Fault::io);
}

}  // namespace file_lock_test
