// Whatever a disk does, at whichever call: an error with a place, and the old content or the new.
#include <algorithm>
#include <array>

#include "autograd/base/file_reader.h"
#include "autograd/base/files.h"
#include "autograd/base/sha256.h"
#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"
#include "tests/nn/plain_file.h"

namespace file_faults_test {

using namespace notch;
using test::put_file;
using test::sweep_failing_calls;
using test::TemporaryDirectory;

const std::string kOld(1000, 'o'), kNew(3000, 'n');

bool is_whole(const std::string& text) { return text == kOld || text == kNew; }

std::size_t entries_in(const fs::path& dir) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir), {}));
}

void replace_directory(const fs::path& dir) {
  DirectoryWriter writer(dir);
  write_file(writer.temporary() / "a", kNew);
  write_file(writer.temporary() / "b", kNew);
  writer.commit();
}

TEST_CASE("a write that fails at any call leaves the old file or the new") {
  const TemporaryDirectory dir;
  write_file(dir / "f", kOld);
  int failures = 0;
  sweep_failing_calls([&] { write_file(dir / "f", kNew); },
                      [&](bool failed) {
                        failures += failed;
                        const std::string text = read_file(dir / "f");
                        REQUIRE(is_whole(text));
                        if (!failed) REQUIRE(text == kNew);
                        REQUIRE(entries_in(dir.path()) == 1);
                        put_file(dir / "f", kOld);
                      });
  CHECK(failures > 10);
}

TEST_CASE("a directory whose writing fails is whole, old or new") {
  for (const bool replaces : {false, true}) {
    const TemporaryDirectory dir;
    const auto before = [&] {
      fs::remove_all(dir / "d");
      if (!replaces) return;
      fs::create_directory(dir / "d");
      put_file(dir / "d/a", kOld);
    };
    before();
    sweep_failing_calls([&] { replace_directory(dir / "d"); },
                        [&](bool failed) {
                          const bool is_there = fs::exists(dir / "d");
                          if (!failed) REQUIRE(is_there);
                          if (replaces) REQUIRE(is_there);
                          if (is_there) {
                            const bool is_new = read_file(dir / "d/a") == kNew;
                            REQUIRE(entries_in(dir / "d") == (is_new ? 2 : 1));
                            if (is_new) REQUIRE(read_file(dir / "d/b") == kNew);
                          }
                          // What could not be removed any more is a temporary of ours.
                          remove_stale_temporaries(dir.path(),
                                                   [](auto base) { return base == "d"; });
                          REQUIRE(entries_in(dir.path()) == (is_there ? 1 : 0));
                          before();
                        });
  }
}

TEST_CASE("a line that cannot be appended leaves what stood there") {
  const TemporaryDirectory dir;
  write_file(dir / "f", kOld);
  sweep_failing_calls([&] { append_file(dir / "f", "line\n"); },
                      [&](bool failed) {
                        const std::string text = read_file(dir / "f");
                        REQUIRE(text.starts_with(kOld));
                        if (!failed) REQUIRE(text == kOld + "line\n");
                        put_file(dir / "f", kOld);
                      });
}

TEST_CASE("reads that fail are errors, short ones are read on") {
  const TemporaryDirectory dir;
  write_file(dir / "f", kNew);
  const std::string digest = sha256(kNew);
  std::string text, hash;
  std::array<std::byte, 4> piece{};
  sweep_failing_calls(
      [&] {
        text = read_file(dir / "f");
        hash = sha256_file(dir / "f");
        FileReader(dir / "f").read_at(2990, piece);
      },
      [&](bool failed) {
        if (failed) return;
        REQUIRE(text == kNew);
        REQUIRE(hash == digest);
        REQUIRE(piece[3] == std::byte{'n'});
      });
}

TEST_CASE("a power failure at any call leaves the old file or the new") {
  const TemporaryDirectory dir;
  const auto reset = [&] {
    put_file(dir / "f", kOld);
    fs::remove_all(dir / "d");
    fs::create_directory(dir / "d");
    put_file(dir / "d/a", kOld);
  };
  reset();
  test::sweep_power_failures(
      dir.path(),
      [&] {
        write_file(dir / "f", kNew);
        replace_directory(dir / "d");
      },
      [&] {
        REQUIRE(is_whole(read_file(dir / "f")));
        const std::string a = read_file(dir / "d/a");
        REQUIRE(is_whole(a));
        if (a == kNew) REQUIRE(read_file(dir / "d/b") == kNew);
        reset();
      });
}

TEST_CASE("what was not synced is lost in a power failure") {  // the test double's own word
  const TemporaryDirectory dir;
  test::FailingCalls calls({.number = 1000});
  append_file(dir / "appended", kNew);
  write_file(dir / "written", kNew);
  calls.drop_unsynced(dir.path());
  CHECK(read_file(dir / "appended").empty());
  CHECK(read_file(dir / "written") == kNew);
}

}  // namespace file_faults_test
