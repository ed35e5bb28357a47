// Directories that several commands write at once: what one that is refused takes away.
#include "experiments/program/command_tools.h"

#include <sys/stat.h>

#include <string>

#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace notch::test::command_tools_test {

int folders_made = 0;  // by the call below, which is a plain function

TEST_CASE("a refused command takes away folders that it made alone") {
  const TemporaryDirectory dir;
  const fs::path out = dir / "new/below/it";
  const auto refused = [](const fs::path&) { throw Error({.what = "refused"}); };
  CHECK_THROWS_AS(experiments::write_directory(out, refused), Error);
  CHECK_FALSE(fs::exists(dir / "new"));

  // Another command makes the upper one between our look and our call.
  FileCalls calls = system_file_calls();
  calls.mkdir = [](const char* path, mode_t mode) {
    if (fs::path(path).filename() == "new") ::mkdir(path, mode);
    return ::mkdir(path, mode);
  };
  {
    const OtherCalls others(calls);
    CHECK_THROWS_AS(experiments::write_directory(out, refused), Error);
  }
  CHECK(fs::is_directory(dir / "new"));
  CHECK(fs::is_empty(dir / "new"));

  // Or uses one that is ours.
  CHECK_THROWS_AS(experiments::write_directory(out,
                                               [&](const fs::path& at) {
                                                 fs::create_directory(dir / "new/below/theirs");
                                                 refused(at);
                                               }),
                  Error);
  CHECK(fs::is_directory(dir / "new/below/theirs"));
}

TEST_CASE("a folder that another command takes away is made again") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  calls.mkdir = [](const char* path, mode_t mode) {
    // new, below in it: new and below again, a temporary in that: below again and the temporary.
    if (++folders_made == 2 || folders_made == 5) fs::remove_all(fs::path(path).parent_path());
    return ::mkdir(path, mode);
  };
  folders_made = 0;
  const OtherCalls others(calls);
  experiments::write_directory(dir / "new/below/it",
                               [](const fs::path& at) { write_file(at / "f", "text"); });
  CHECK(folders_made == 7);
  CHECK(read_file(dir / "new/below/it/f") == "text");
}

}  // namespace notch::test::command_tools_test
