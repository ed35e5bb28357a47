// Writers that replace nothing: of several that write one path at once the first has it, whole, and the
// others are refused and leave nothing.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "autograd/base/file_calls.h"
#include "autograd/base/files.h"
#include "autograd/base/temporaries.h"
#include "tests/base/failing_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

namespace new_files_test {

using namespace notch;
using test::error_of;
using test::OtherCalls;
using test::TemporaryDirectory;

using Names = std::set<std::string>;

Names names_in(const fs::path& directory) {
  Names names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}

/// "usage f: exists", of an error that names what it is about.
std::string refusal(const ErrorParts& parts) {
  return str(parts.fault == Fault::usage ? "usage " : "other ",
             fs::path(parts.where).filename().string(), ": ", parts.what);
}

/// The system's calls where a file system knows no renaming that refuses, and perhaps no second names.
FileCalls calls_without(bool links) {
  FileCalls calls = system_file_calls();
  calls.rename_new = [](const char*, const char*) {
    errno = EINVAL;
    return -1;
  };
  if (!links) {
    calls.link = [](const char*, const char*) {
      errno = EPERM;
      return -1;
    };
  }
  return calls;
}

void make_directory_of(const fs::path& path, const std::string& content) {
  DirectoryWriter writer(path, Existing::refuse);
  write_file(writer.temporary() / "f", content);
  writer.commit();
}

/// How many of `n` processes that do `work(i)` at once end without an error; the others end with a usage
/// error.
template <class Work>
int winners_of(int n, const Work& work) {
  int start[2] = {-1, -1};
  REQUIRE(::pipe(start) == 0);
  std::vector<pid_t> children;
  for (int i = 0; i < n; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(start[1]);
      char byte = 0;
      if (::read(start[0], &byte, 1) != 0) ::_exit(9);  // ends when all are there
      try {
        work(i);
        ::_exit(0);
      } catch (const Error& e) {
        ::_exit(e.fault() == Fault::usage ? 2 : 3);
      } catch (...) {
        ::_exit(4);
      }
    }
    children.push_back(child);
  }
  ::close(start[0]);
  ::close(start[1]);
  int winners = 0;
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    const int code = WEXITSTATUS(status);
    CHECK((code == 0 || code == 2));
    winners += code == 0;
  }
  return winners;
}

TEST_CASE("a writer that replaces nothing refuses what is there at once") {
  const TemporaryDirectory dir;
  write_file(dir / "f", "old");
  fs::create_directories(dir / "full/d");
  fs::create_directory(dir / "empty");
  fs::create_symlink("nowhere", dir / "dangling");
  fs::create_symlink("empty", dir / "link");
  const Names before = names_in(dir.path());
  for (const char* name : {"f", "dangling"}) {
    const std::string expected = str("usage ", name, ": exists");
    CHECK(refusal(error_of([&] { write_file(dir / name, "new", Existing::refuse); })) == expected);
    CHECK(refusal(error_of([&] { require_absent(dir / name); })) == expected);
  }
  for (const char* name : {"full", "dangling", "link"}) {
    CHECK(refusal(error_of([&] { make_directory_of(dir / name, "new"); })) ==
          str("usage ", name, ": exists"));
  }
  CHECK_NOTHROW(require_absent(dir / "absent"));
  CHECK(names_in(dir.path()) == before);
  CHECK(read_file(dir / "f") == "old");
  make_directory_of(dir / "empty", "new");
  make_directory_of(dir / "absent", "new");
  write_file(dir / "g", "new", Existing::refuse);
  CHECK(read_file(dir / "empty/f") == "new");
  CHECK(read_file(dir / "absent/f") == "new");
  CHECK(read_file(dir / "g") == "new");
}

TEST_CASE("what came while a file was written is not replaced") {
  const FileCalls without_both = calls_without(false), with_links = calls_without(true);
  for (const FileCalls* calls : {&system_file_calls(), &with_links, &without_both}) {
    const TemporaryDirectory dir;
    const OtherCalls others(*calls);
    for (const bool link : {false, true}) {
      std::optional<FileWriter> second(std::in_place, dir / "f", Existing::refuse);
      second->write("second");
      if (link) {
        fs::create_symlink("nowhere", dir / "f");
      } else {
        write_file(dir / "f", "first", Existing::refuse);
        CHECK(read_file(dir / "f") == "first");
      }
      CHECK(refusal(error_of([&] { second->commit(); })) == "usage f: exists");
      second.reset();
      CHECK(names_in(dir.path()) == Names{"f"});
      CHECK(fs::is_symlink(dir / "f") == link);
      if (!link) CHECK(read_file(dir / "f") == "first");
      fs::remove(dir / "f");
    }
  }
}

TEST_CASE("what came while a directory was written is not replaced") {
  const TemporaryDirectory dir;
  const auto meanwhile = [&](const auto& make) {
    fs::remove_all(dir / "d");
    {
      DirectoryWriter writer(dir / "d", Existing::refuse);
      write_file(writer.temporary() / "f", "second");
      make();
      CHECK(refusal(error_of([&] { writer.commit(); })) == "usage d: exists");
    }
    CHECK(names_in(dir.path()) == Names{"d"});
  };
  meanwhile([&] { make_directory_of(dir / "d", "first"); });
  CHECK(read_file(dir / "d/f") == "first");
  meanwhile([&] { write_file(dir / "d", "a file"); });
  CHECK(read_file(dir / "d") == "a file");
  meanwhile([&] { fs::create_symlink("nowhere", dir / "d"); });
  CHECK(fs::is_symlink(dir / "d"));
}

TEST_CASE("of processes that write one new path at once one has it, whole") {
  constexpr int kProcesses = 6;
  const FileCalls without_both = calls_without(false), with_links = calls_without(true);
  for (int round = 0; round < 10; ++round) {
    const TemporaryDirectory dir;
    const auto content = [](int i) { return std::string(5000, static_cast<char>('a' + i)); };
    for (const FileCalls* calls : {&system_file_calls(), &with_links, &without_both}) {
      const OtherCalls others(*calls);
      CHECK(winners_of(kProcesses,
                       [&](int i) { write_file(dir / "f", content(i), Existing::refuse); }) == 1);
      const std::string text = read_file(dir / "f");
      CHECK(text == content(text[0] - 'a'));
      CHECK(names_in(dir.path()) == Names{"f"});
      fs::remove(dir / "f");
    }
    CHECK(winners_of(kProcesses, [&](int i) { make_directory_of(dir / "d", content(i)); }) == 1);
    const std::string text = read_file(dir / "d/f");
    CHECK(text == content(text[0] - 'a'));
    CHECK(names_in(dir.path()) == Names{"d"});
  }
}

TEST_CASE("what is new and fails to be written is whole or not there") {
  const TemporaryDirectory dir;
  int failures = 0;
  const std::string content(3000, 'n');
  test::sweep_failing_calls(
      [&] {
        write_file(dir / "f", content, Existing::refuse);
        make_directory_of(dir / "d", content);
      },
      [&](bool failed) {
        failures += failed;
        for (const char* name : {"f", "d/f"}) {
          if (fs::exists(dir / name)) REQUIRE(read_file(dir / name) == content);
          if (!failed) REQUIRE(fs::exists(dir / name));
        }
        for (const std::string& name : names_in(dir.path())) REQUIRE((name == "f" || name == "d"));
        fs::remove(dir / "f");
        fs::remove_all(dir / "d");
      });
  CHECK(failures > 10);
}

TEST_CASE("folders are made down to the last, and are told if they were new") {
  const TemporaryDirectory dir;
  std::vector<fs::path> made;
  make_directories(dir / "a/b/", &made);
  CHECK(made == std::vector<fs::path>{dir / "a", dir / "a/b"});
  make_directories(dir / "a/b", &made);
  make_directories(dir / "a/c/d");
  CHECK(made.size() == 2);
  CHECK(fs::is_directory(dir / "a/c/d"));
  make_directories("");
  write_file(dir / "f", "mine");
  fs::create_symlink("nowhere", dir / "dangling");
  fs::create_directory_symlink("a", dir / "link");
  make_directories(dir / "link/e");
  CHECK(fs::is_directory(dir / "a/e"));
  for (const char* name : {"f", "dangling"}) {
    for (const fs::path& path : {dir / name, dir / name / "below"}) {
      const ErrorParts parts = error_of([&] { make_directories(path); });
      CHECK(parts.fault == Fault::io);
      CHECK(parts.where == (dir / name).string());
      CHECK(parts.hint.find("move it away") == 0);
    }
  }
  CHECK(read_file(dir / "f") == "mine");
}

TEST_CASE("what killed writers left goes when something is written") {
  const TemporaryDirectory dir;
  const pid_t ended = ::fork();
  if (ended == 0) ::_exit(0);
  REQUIRE(::waitpid(ended, nullptr, 0) == ended);
  const std::string f = temporary_of("f", ended).string(), d = temporary_of("d", ended).string();
  write_file(dir / f, "half");
  fs::create_directory(dir / d);
  {  // refused for what else it was asked
    const FileWriter file(dir / "f", Existing::refuse);
    const DirectoryWriter directory(dir / "d", Existing::refuse);
  }
  CHECK(names_in(dir.path()) == Names{f, d});
  write_file(dir / "f", "new", Existing::refuse);
  make_directory_of(dir / "d", "new");
  CHECK(names_in(dir.path()) == Names{"f", "d"});
}

}  // namespace new_files_test
