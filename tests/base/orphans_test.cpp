// What killed writers left goes, what a living one has begun stays: also of one whose number says nothing.
#include "autograd/base/orphans.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "autograd/base/file_calls.h"
#include "tests/base/temporary_directory.h"
#include "tests/catch.h"

using namespace notch;
using test::TemporaryDirectory;

namespace {

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.insert(entry.path().filename().string());
  return names;
}
using Names = std::set<std::string>;

/// The number of a process that has ended by SIGKILL: in `work`, or after it.
template <class Work>
std::string killed_after(const Work& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  return std::to_string(child);
}

/// The name beside `name` of a writer whose process's number has `times` 2^22 added.
std::string temporary_name(const std::string& name, long times = 0) {
  return name + ".tmp-" + std::to_string(::getpid() + times * 4194304);
}

/// As another process has one: of a descriptor of its own.
class Lock {
 public:
  explicit Lock(const fs::path& path, int kind = LOCK_EX)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
    got_ = ::flock(fd_, kind | LOCK_NB) == 0;
  }
  ~Lock() { ::close(fd_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool got() const { return got_; }

 private:
  int fd_;
  bool got_ = false;
};

/// While one lives, files are used through `calls`.
class OtherCalls {
 public:
  explicit OtherCalls(const FileCalls& calls) { use_file_calls(calls); }
  ~OtherCalls() { use_file_calls(system_file_calls()); }
  OtherCalls(const OtherCalls&) = delete;
  OtherCalls& operator=(const OtherCalls&) = delete;
};

// What the calls below have done; they are plain functions.
int calls_seen = 0, locks_seen = 0;
std::optional<std::thread> looking;

}  // namespace

TEST_CASE("a writer leaves what another of its process's number has begun") {
  const TemporaryDirectory dir;
  const auto write_both = [&] {
    FileWriter file(dir / "f");
    file.write("new");
    DirectoryWriter model(dir / "model");
    write_file(model.temporary() / "weights", "new");
    const Names begun = names_in(dir.path());
    file.commit();
    model.commit();
    return begun;
  };
  fs::create_directory(dir / temporary_name("model"));
  for (const std::string& name : {temporary_name("f"), temporary_name("model") + "/weights"})
    write_file(dir / name, "half");
  const Names of_other = names_in(dir.path()),
              next{temporary_name("f"), temporary_name("f", 1), temporary_name("model"),
                   temporary_name("model", 1)};
  for (const int kind : {LOCK_EX, LOCK_SH}) {
    const Lock file(dir / temporary_name("f"), kind), model(dir / temporary_name("model"), kind);
    CHECK(write_both() == next);
    CHECK(read_file(dir / temporary_name("f")) == "half");
    CHECK(read_file(dir / temporary_name("model") / "weights") == "half");
    CHECK(read_file(dir / "f") == "new");
    CHECK(read_file(dir / "model/weights") == "new");
    fs::remove(dir / "f");
    fs::remove_all(dir / "model");
  }
  CHECK(names_in(dir.path()) == of_other);
  // Once its writer is no more, it is what a killed process of that number left.
  CHECK(write_both() == of_other);
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("two writers of one path both end, and the later one has it") {
  const TemporaryDirectory dir;
  FileWriter first(dir / "f"), second(dir / "f");
  DirectoryWriter one(dir / "model"), two(dir / "model");
  first.write("first");
  second.write("second");
  write_file(one.temporary() / "weights", "first");
  write_file(two.temporary() / "weights", "second");
  first.commit();
  second.commit();
  one.commit();
  two.commit();
  CHECK(read_file(dir / "f") == "second");
  CHECK(read_file(dir / "model/weights") == "second");
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("a temporary of no process goes unless it is locked") {
  const TemporaryDirectory dir;
  const std::string name = temporary_name("f", 3);
  write_file(dir / name, "half");
  {
    const Lock writer(dir / name);
    remove_orphans(dir / "f");
    CHECK(names_in(dir.path()) == Names{name});
  }
  remove_orphans(dir / "f");
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("a new temporary is locked although others look at it") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  SECTION("one that looks has it locked for a moment") {
    calls.open = [](const char* path, int flags, mode_t mode) {
      const int fd = ::open(path, flags, mode);
      const int own = ::open(path, O_RDONLY);
      if (::flock(own, LOCK_SH | LOCK_NB) == 0) ++locks_seen;
      looking.emplace([own] { ::close(own); });
      return fd;
    };
  }
  SECTION("one that looked before it was locked removes it") {
    calls.open = [](const char* path, int flags, mode_t mode) {
      const int fd = ::open(path, flags, mode);
      if (++calls_seen == 1) ::unlink(path);
      return fd;
    };
  }
  calls_seen = locks_seen = 0;
  std::optional<FileWriter> file;
  {
    const OtherCalls others(calls);
    file.emplace(dir / "f");
  }
  CHECK(calls_seen + locks_seen >= 1);
  if (looking) looking->join();
  looking.reset();
  const Names begun = names_in(dir.path());
  REQUIRE(begun.size() == 1);
  CHECK_FALSE(Lock(dir / *begun.begin()).got());
  file->write("new");
  file->commit();
  CHECK(read_file(dir / "f") == "new");
  CHECK(Lock(dir / "f").got());
}

TEST_CASE("what is renamed is locked until it is there or gone") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  calls.rename = [](const char* from, const char* to) {
    ++calls_seen;
    const std::string aside = std::string(from) + "-old";
    for (const std::string& path : {std::string(from), aside}) {
      if (fs::exists(path) && !Lock(path).got()) ++locks_seen;
    }
    return ::rename(from, to);
  };
  const auto locks_of = [&](const auto& commit) {
    calls_seen = locks_seen = 0;
    const OtherCalls others(calls);
    commit();
    return locks_seen;
  };
  const auto replace = [&] {
    DirectoryWriter model(dir / "model");
    model.commit();
  };
  CHECK(locks_of([&] { write_file(dir / "f", "new"); }) == 1);
  CHECK(calls_seen == 1);
  CHECK(locks_of(replace) == 1);
  CHECK(calls_seen == 1);
  // Without exchange: the old one aside, then the new one while the old one waits there.
  calls.exchange = [](const char*, const char*) {
    errno = EINVAL;
    return -1;
  };
  CHECK(locks_of(replace) == 1 + 2);
  CHECK(calls_seen == 2);
  // With it, the old one has the temporary's name.
  calls.exchange = [](const char* a, const char* b) {
    const int result = system_file_calls().exchange(a, b);
    if (!Lock(a).got()) ++locks_seen;
    return result;
  };
  CHECK(locks_of(replace) == 1);
  CHECK(names_in(dir.path()) == Names{"f", "model"});
}

TEST_CASE("a directory that another writer puts there meanwhile is replaced") {
  const TemporaryDirectory dir;
  FileCalls calls = system_file_calls();
  calls.rename = [](const char* from, const char* to) {
    if (++calls_seen == 1) {
      fs::create_directory(to);
      fs::create_directory(fs::path(to) / "theirs");
    }
    return ::rename(from, to);
  };
  calls_seen = 0;
  {
    DirectoryWriter model(dir / "model");
    fs::create_directory(model.temporary() / "mine");
    const OtherCalls others(calls);
    model.commit();
  }
  CHECK(calls_seen == 1);
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(names_in(dir / "model") == Names{"mine"});
}

TEST_CASE("what killed writers of a path left is removed, and nothing else") {
  const TemporaryDirectory dir;
  const std::string pid = killed_after([&] {
    FileWriter file(dir / "f"), other(dir / "g");
    file.write("half");
    DirectoryWriter directory(dir / "model");
    write_file(directory.temporary() / "weights", "half");
    ::kill(::getpid(), SIGKILL);
  });
  const std::string f = "f.tmp-" + pid, g = "g.tmp-" + pid, model = "model.tmp-" + pid;
  write_file(dir / "f.tmp-notes", "text");
  write_file(dir / "f.tmp-0", "of no process");
  write_file(dir / ("f.tmp-1" + pid + "000000000"), "of none either");
  const Names others = names_in(dir.path());
  REQUIRE(others.contains(f));
  const auto without = [&](const Names& gone) {
    Names left = others;
    for (const std::string& name : gone) left.erase(name);
    return left;
  };
  remove_orphans(dir / "f");
  CHECK(names_in(dir.path()) == without({f}));
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == without({f, model}));
  CHECK_NOTHROW(remove_orphans(dir / "absent/f"));
}

TEST_CASE("a directory that a killed writer had renamed aside comes back") {
  const TemporaryDirectory dir;
  const std::string pid = killed_after([] {});
  const auto make_aside = [&] {
    fs::create_directory(dir / ("model.tmp-" + pid + "-old"));
    write_file(dir / ("model.tmp-" + pid + "-old") / "weights", "old");
  };
  make_aside();
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(read_file(dir / "model/weights") == "old");
  make_aside();
  write_file(dir / "model/weights", "new");
  remove_orphans(dir / "model");
  CHECK(names_in(dir.path()) == Names{"model"});
  CHECK(read_file(dir / "model/weights") == "new");
}

TEST_CASE("a living writer keeps what it has begun") {
  const TemporaryDirectory dir;
  std::optional<FileWriter> file;
  std::optional<DirectoryWriter> directory;
  file.emplace(dir / "f");
  directory.emplace(dir / "model");
  const Names begun = names_in(dir.path());
  const auto remove_both = [&] {
    remove_orphans(dir / "f");
    remove_orphans(dir / "model");
    return names_in(dir.path());
  };
  CHECK(remove_both() == begun);
  // Of another container: here its number is that of no process.
  const std::string own = std::to_string(::getpid()), none = killed_after([] {});
  for (const std::string name : {"f", "model"})
    fs::rename(dir / (name + ".tmp-" + own), dir / (name + ".tmp-" + none));
  CHECK(remove_both() == Names{"f.tmp-" + none, "model.tmp-" + none});
  file.reset();
  directory.reset();
  CHECK(remove_both().empty());
}
